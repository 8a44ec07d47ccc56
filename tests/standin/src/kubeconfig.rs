//! The kubeconfigs that people have: each tool names and authenticates in its own way.

use std::fmt::Write as _;

use base64::Engine as _;

/// How the user entry gets its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exec {
    /// A static bearer token.
    Token(String),
    /// This command, its arguments and environment.
    Command {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its environment.
        env: Vec<(String, String)>,
    },
    /// No credentials.
    None,
}

/// A kubeconfig with one cluster, user and context, as one of the usual tools writes it.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    eks_name: String,
    region: String,
    account: String,
    server: String,
    ca_data: Option<String>,
    /// The name of the cluster entry.
    pub cluster: String,
    /// The name of the user entry.
    pub user: String,
    /// The name of the context.
    pub context: String,
    /// The context's namespace.
    pub namespace: Option<String>,
    /// The user's credentials.
    pub exec: Exec,
}

impl Kubeconfig {
    /// As `aws eks update-kubeconfig` writes it: everything is named by the cluster's ARN, the token comes from
    /// `aws eks get-token`.
    pub fn new(cluster: &str, region: &str, account: &str, server: &str) -> Self {
        let arn = format!("arn:aws:eks:{region}:{account}:cluster/{cluster}");
        let config = Self {
            eks_name: cluster.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            server: server.to_owned(),
            ca_data: None,
            cluster: arn.clone(),
            user: arn.clone(),
            context: arn,
            namespace: None,
            exec: Exec::None,
        };
        let args = [
            "--region",
            region,
            "eks",
            "get-token",
            "--cluster-name",
            cluster,
            "--output",
            "json",
        ];
        config.command("aws", &args)
    }

    /// `aws eks get-token` with a role and a profile, as `update-kubeconfig --role-arn ... --profile ...` writes it.
    pub fn with_role(mut self, role_arn: &str) -> Self {
        if let Exec::Command { args, .. } = &mut self.exec {
            args.extend(["--role-arn".to_owned(), role_arn.to_owned()]);
        }
        self
    }

    /// With AWS_PROFILE in the exec entry's environment.
    pub fn with_profile(mut self, profile: &str) -> Self {
        if let Exec::Command { env, .. } = &mut self.exec {
            env.push(("AWS_PROFILE".to_owned(), profile.to_owned()));
        }
        self
    }

    /// As many guides write it by hand: `aws-iam-authenticator token -i CLUSTER`.
    pub fn authenticator(self) -> Self {
        let name = self.eks_name.clone();
        self.named(&name, "aws", &name)
            .command("aws-iam-authenticator", &["token", "-i", &name])
    }

    /// As eksctl names it: `USER@NAME.REGION.eksctl.io`.
    pub fn eksctl(self, user: &str) -> Self {
        let (name, region) = (self.eks_name.clone(), self.region.clone());
        let cluster = format!("{name}.{region}.eksctl.io");
        let context = format!("{user}@{cluster}");
        let args = [
            "eks",
            "get-token",
            "--output",
            "json",
            "--cluster-name",
            &name,
            "--region",
            &region,
        ];
        self.named(&cluster, &context, &context).command("aws", &args)
    }

    /// As Cluster API (and with it CAPT) writes it: a static token, nothing that names AWS.
    pub fn cluster_api(self, token: &str) -> Self {
        let name = self.eks_name.clone();
        let user = format!("{name}-capi-admin");
        let context = format!("{user}@{name}");
        self.named(&name, &user, &context).token(token)
    }

    /// Named by the cluster's ARN, with a static token.
    pub fn arn_named(self, token: &str) -> Self {
        self.token(token)
    }

    /// Named like a kind cluster, with a static token: no EKS cluster.
    pub fn kind(self, token: &str) -> Self {
        self.named("kind-kind", "kind-kind", "kind-kind").token(token)
    }

    /// With these names of cluster, user and context.
    pub fn named(mut self, cluster: &str, user: &str, context: &str) -> Self {
        self.cluster = cluster.to_owned();
        self.user = user.to_owned();
        self.context = context.to_owned();
        self
    }

    /// With this static token.
    pub fn token(mut self, token: &str) -> Self {
        self.exec = Exec::Token(token.to_owned());
        self
    }

    /// With this exec plugin.
    pub fn command(mut self, command: &str, args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        self.exec = Exec::Command {
            command: command.to_owned(),
            args,
            env: Vec::new(),
        };
        self
    }

    /// With this certificate authority, as `certificate-authority-data`.
    pub fn ca_pem(mut self, pem: &str) -> Self {
        self.ca_data = Some(base64::engine::general_purpose::STANDARD.encode(pem));
        self
    }

    /// Without a certificate authority: a server that speaks TLS is not trusted then.
    pub fn without_ca(mut self) -> Self {
        self.ca_data = None;
        self
    }

    /// With another server.
    pub fn server(mut self, server: &str) -> Self {
        self.server = server.to_owned();
        self
    }

    /// The cluster's ARN.
    pub fn arn(&self) -> String {
        format!(
            "arn:aws:eks:{}:{}:cluster/{}",
            self.region, self.account, self.eks_name
        )
    }

    /// The file's text.
    pub fn yaml(&self) -> String {
        Self::file(std::slice::from_ref(self))
    }

    /// One file with all of these; the first is the current context.
    pub fn file(all: &[Self]) -> String {
        let mut out = String::from("apiVersion: v1\nkind: Config\npreferences: {}\n");
        // Writing to a String can't fail.
        if let Some(first) = all.first() {
            let _ = writeln!(out, "current-context: {}", quote(&first.context));
        }
        out.push_str(if all.is_empty() {
            "clusters: []\n"
        } else {
            "clusters:\n"
        });
        for one in all {
            let _ = writeln!(
                out,
                "- name: {}\n  cluster:\n    server: {}",
                quote(&one.cluster),
                quote(&one.server)
            );
            if let Some(data) = &one.ca_data {
                let _ = writeln!(out, "    certificate-authority-data: {}", quote(data));
            }
        }
        out.push_str(if all.is_empty() {
            "contexts: []\n"
        } else {
            "contexts:\n"
        });
        for one in all {
            let (context, cluster, user) = (quote(&one.context), quote(&one.cluster), quote(&one.user));
            let _ = writeln!(
                out,
                "- name: {context}\n  context:\n    cluster: {cluster}\n    user: {user}"
            );
            if let Some(namespace) = &one.namespace {
                let _ = writeln!(out, "    namespace: {}", quote(namespace));
            }
        }
        out.push_str(if all.is_empty() { "users: []\n" } else { "users:\n" });
        for one in all {
            let _ = write!(out, "- name: {}\n  user:{}", quote(&one.user), one.credentials());
        }
        out
    }

    fn credentials(&self) -> String {
        let mut out = String::new();
        match &self.exec {
            Exec::None => out.push_str(" {}\n"),
            Exec::Token(token) => {
                let _ = write!(out, "\n    token: {}\n", quote(token));
            }
            Exec::Command { command, args, env } => {
                let _ = write!(
                    out,
                    "\n    exec:\n      apiVersion: client.authentication.k8s.io/v1beta1\n      command: {}\n",
                    quote(command)
                );
                out.push_str(if args.is_empty() {
                    "      args: []\n"
                } else {
                    "      args:\n"
                });
                for arg in args {
                    let _ = writeln!(out, "      - {}", quote(arg));
                }
                if !env.is_empty() {
                    out.push_str("      env:\n");
                }
                for (name, value) in env {
                    let _ = write!(
                        out,
                        "      - name: {}\n        value: {}\n",
                        quote(name),
                        quote(value)
                    );
                }
                out.push_str("      interactiveMode: IfAvailable\n      provideClusterInfo: false\n");
            }
        }
        out
    }
}

/// A JSON string is a YAML string.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
