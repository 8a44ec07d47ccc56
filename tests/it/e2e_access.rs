//! From aws-auth to access entries on real parts: the steps of docs/access.md with the AWS CLI and kubectl, and what the real
//! authenticator answers before and after.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::process::Command;

use capt_spot_standin::{AuthenticationMode, Role, Standin, World, principal_trust};
use serde_json::{Value, json};

use crate::e2e::{AWS_AUTH, fresh_world};
use crate::support::program::Ran;
use crate::support::shell::{Shell, cluster_arn};
use crate::support::testbed::{
    ACCOUNT, ApiServer, Authenticator, Identity, Testbed, User, output, succeed, until,
};

/// Everything that a migration meets: nodes, Fargate, an administrator, a group and a username that entries reserve, a role with a
/// path, a permission set, an account, a role that is gone, a path that never matches.
const LINES: &str = "    - rolearn: arn:aws:iam::111122223333:role/demo-admin
      username: admin
      groups: [system:masters]
    - rolearn: arn:aws:iam::111122223333:role/Dev
      username: 'dev:{{SessionName}}'
      groups: [developers, system:developers]
    - rolearn: arn:aws:iam::111122223333:role/Robot
      username: system:robot
    - rolearn: arn:aws:iam::111122223333:role/AWSReservedSSO_View_0123456789abcdef
      username: 'view:{{SessionName}}'
      groups: [viewers]
    - rolearn: arn:aws:iam::111122223333:role/Gone
      username: gone
    - rolearn: arn:aws:iam::111122223333:role/team/Path
      username: path
  mapAccounts: |
    - '444455556666'
";

const BINDINGS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: developers, namespace: default }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'system:developers' }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: robot }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: 'system:robot' }]
";

/// The stand-in's AWS, with a cluster in mode CONFIG_MAP that is `server`, and the roles of the lines.
fn world(server: &ApiServer) -> World {
    let mut world = fresh_world(server);
    let role = |name: &str| Role::new(name, principal_trust(ACCOUNT));
    world.account(ACCOUNT).roles.extend([
        role("Dev").with_path("/team/"),
        role("Robot"),
        role("AWSReservedSSO_View_0123456789abcdef").with_path("/aws-reserved/sso.amazonaws.com/eu-west-1/"),
    ]);
    let cluster = world.cluster("demo");
    cluster.authentication_mode = Some(AuthenticationMode::ConfigMap);
    cluster.access_entries.clear();
    world
}

/// A real API server, the stand-in's AWS (moto has no access entries), and a shell with kubectl, the AWS CLI and the program.
struct Place {
    server: ApiServer,
    standin: Standin,
    shell: Shell,
}

impl Place {
    fn new(bed: &Testbed) -> Self {
        let server = ApiServer::start(bed);
        server.apply(&format!("{AWS_AUTH}{LINES}"));
        server.apply(BINDINGS);
        let standin = Standin::start(world(&server)).expect("the stand-ins");
        let kubeconfig = server.kubeconfig(&cluster_arn(ACCOUNT), server.token(User::Admin));
        let shell = Shell::new(bed, &kubeconfig, standin.env());
        symlink(bed.path("awscli"), shell.home().join("bin/aws")).expect("a link");
        Self {
            server,
            standin,
            shell,
        }
    }

    /// A line as somebody pastes it.
    fn paste(&self, line: &str) -> Ran {
        let environment = self.shell.environment().iter().map(|(name, value)| (name, value));
        let mut command = Command::new("/bin/sh");
        command
            .env_clear()
            .envs(environment)
            .env("AWS_PAGER", "")
            .current_dir(self.shell.home())
            .args(["-c", line]);
        Ran::from(&output(command))
    }
}

/// The lines of the page's shell blocks, in their order.
fn lines_of_the_page() -> Vec<String> {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/access.md")).expect("the page");
    let mut lines = Vec::new();
    let mut within = false;
    for line in page.lines() {
        match line {
            "```sh" => within = true,
            "```" => within = false,
            _ if within => lines.push(line.replace("CONTEXT", &cluster_arn(ACCOUNT))),
            _ => {}
        }
    }
    lines
}

fn steps(plan: &Value) -> Vec<(String, Vec<String>, Vec<String>)> {
    let lines = |step: &Value, key: &str| -> Vec<String> {
        let lines = step[key].as_array().expect("lines").iter();
        lines
            .map(|line| line.as_str().expect("a line").to_owned())
            .collect()
    };
    let steps = plan["steps"].as_array().expect("steps").iter();
    steps
        .map(|step| {
            let title = step["title"].as_str().expect("a title").to_owned();
            (title, lines(step, "commands"), lines(step, "check"))
        })
        .collect()
}

#[test]
fn the_page_is_followed_step_by_step() {
    let Some(bed) = Testbed::require(&["kube-apiserver", "kubectl", "awscli"]) else {
        return;
    };
    let place = Place::new(&bed);
    let home = place.shell.home();
    for (name, lines) in [("old", LINES), ("new", "")] {
        std::fs::write(
            home.join(format!("{name}-aws-auth.yaml")),
            format!("{AWS_AUTH}{lines}"),
        )
        .expect("written");
    }
    let plan = place
        .shell
        .capt_spot(&["access", "migrate", "-o", "json"])
        .expect(1)
        .json();
    let all = steps(&plan);
    let (last, first) = all.split_last().expect("steps");
    assert_eq!(first.len(), 4, "{all:#?}");
    let mut seen = Vec::new();
    for line in lines_of_the_page() {
        // `access list` is complete; every change of the example loses somebody; what the page compares with changed by plan.
        let code = match line.as_str() {
            line if line.contains(" access list ")
                || line.contains("--verify")
                || line.starts_with("aws ") =>
            {
                0
            }
            _ => 1,
        };
        let ran = place
            .paste(&line.replace("role/Dev", "role/team/Dev"))
            .expect(code);
        seen.push(format!("$ {line}\n{}", ran.stdout));
        if line.contains(" access migrate --context") {
            // The plan is printed: its steps up to the last one are followed.
            for (title, commands, checks) in first {
                for command in commands {
                    // The plan says that an account loses access, and is saved all the same.
                    let code = i32::from(command.contains(" access migrate -o json"));
                    place.paste(command).expect(code);
                }
                for check in checks {
                    let ran = place.paste(check);
                    let code = i32::from(check.contains(" access diff "));
                    assert_eq!(ran.code, code, "{title}: {check}\n{}{}", ran.stdout, ran.stderr);
                }
            }
        }
    }
    // The mode, and every entry, are what the plan says; what the page deletes counts by its line again.
    let back = seen
        .iter()
        .rfind(|text| text.contains("--from-file aws-auth-before.yaml"))
        .expect("the way back");
    assert!(!back.contains("role/team/Dev has"), "{back}");
    for command in &last.1 {
        place.paste(command).expect(0);
    }
    let mode = place.paste(&last.2[0]).expect(0).json();
    assert_eq!(mode["authenticationMode"], "API");
    let verified =
        place
            .shell
            .capt_spot(&["access", "migrate", "--verify", "access-plan.json", "-o", "json"]);
    let verified = verified.expect(1).json();
    assert_eq!(
        verified["wrong"],
        json!(["arn:aws:iam::111122223333:role/team/Dev has no access entry"])
    );
    // Only what was pasted has written anything.
    let writes = place.standin.writes();
    let actions: Vec<&str> = writes.iter().map(|call| call.action.as_str()).collect();
    assert!(
        actions.iter().all(|action| action.starts_with("eks:")),
        "{actions:?}"
    );
    // The new names are bound as the old ones were.
    let mut may = place.server.kubectl(User::Admin);
    may.args([
        "auth",
        "can-i",
        "create",
        "deployments",
        "-n",
        "default",
        "--as",
        "dev:jo",
    ]);
    may.args(["--as-group", "developers", "--as-group", "migrated:developers"]);
    assert_eq!(succeed(output(may)).trim(), "yes");
    let mut may = place.server.kubectl(User::Admin);
    may.args(["auth", "can-i", "list", "pods", "-A", "--as", "migrated:robot"]);
    assert_eq!(succeed(output(may)).trim(), "yes");
}

/// What other people's parsers make of the plan's other forms.
#[test]
fn terraform_eksctl_and_cloudformation_read_the_plan() {
    let Some(bed) = Testbed::require(&["kube-apiserver", "kubectl", "awscli", "python-hcl2", "cfn-lint"])
    else {
        return;
    };
    let place = Place::new(&bed);
    let form = |name: &str| {
        let ran = place
            .shell
            .capt_spot(&["access", "migrate", "--form", name])
            .expect(1);
        let path = place.shell.home().join(format!("plan.{name}.yaml"));
        std::fs::write(&path, &ran.stdout).expect("written");
        path
    };
    let python = |script: &str, file: &std::path::Path| -> Value {
        let mut command = bed.command("python-hcl2", place.shell.home());
        command.args(["-c", script]).arg(file);
        serde_json::from_str(&succeed(output(command))).expect("JSON")
    };
    let yaml = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let entries = place
        .shell
        .capt_spot(&["access", "migrate", "-o", "json"])
        .expect(1)
        .json()["entries"]
        .as_array()
        .expect("entries")
        .len();
    assert_eq!(entries, 6);

    let terraform = python(
        "import hcl2, json, sys; print(json.dumps(hcl2.load(open(sys.argv[1]))))",
        &form("terraform"),
    );
    let kinds: Vec<&str> = terraform["resource"]
        .as_array()
        .expect("resources")
        .iter()
        .flat_map(|resource| resource.as_object().expect("a resource").keys())
        .map(|kind| kind.trim_matches('"'))
        .collect();
    let of = |wanted: &str| kinds.iter().filter(|kind| **kind == wanted).count();
    assert_eq!(of("aws_eks_access_entry"), entries, "{terraform:#}");
    assert_eq!(of("aws_eks_access_policy_association"), 1);
    assert_eq!(
        terraform["import"].as_array().expect("imports").len(),
        entries + 1
    );

    // The keys of eksctl's schema (v1alpha5, AccessConfig and AccessEntry).
    let eksctl = python(yaml, &form("eksctl"));
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().expect("an object").keys().cloned().collect() };
    let known = |value: &Value, known: &[&str]| {
        let unknown: Vec<String> = keys(value)
            .into_iter()
            .filter(|key| !known.contains(&key.as_str()))
            .collect();
        assert_eq!(unknown, [""; 0], "{value:#}");
    };
    known(&eksctl, &["apiVersion", "kind", "metadata", "accessConfig"]);
    assert_eq!(eksctl["apiVersion"], "eksctl.io/v1alpha5");
    known(
        &eksctl["accessConfig"],
        &[
            "authenticationMode",
            "bootstrapClusterCreatorAdminPermissions",
            "accessEntries",
        ],
    );
    let of_eksctl = eksctl["accessConfig"]["accessEntries"]
        .as_array()
        .expect("entries");
    assert_eq!(of_eksctl.len(), entries);
    for entry in of_eksctl {
        known(
            entry,
            &[
                "principalARN",
                "type",
                "kubernetesGroups",
                "kubernetesUsername",
                "accessPolicies",
            ],
        );
        for policy in entry["accessPolicies"].as_array().into_iter().flatten() {
            known(policy, &["policyARN", "accessScope"]);
            known(&policy["accessScope"], &["type", "namespaces"]);
        }
    }

    let cloudformation = form("cloudformation");
    let resources = python(yaml, &cloudformation);
    assert_eq!(keys(&resources["Resources"]).len(), entries);
    let mut lint = bed.command("cfn-lint", place.shell.home());
    lint.args(["--regions", "eu-west-1", "--"]).arg(&cloudformation);
    succeed(output(lint));
}

/// A session of a role with keys of its own.
fn session(role: &str, name: &str) -> Identity {
    let key = format!(
        "ASIA{:0>16}",
        role.to_uppercase()
            .replace('_', "")
            .chars()
            .take(16)
            .collect::<String>()
    );
    Identity {
        access_key_id: key,
        ..Identity::session(ACCOUNT, role, name)
    }
}

/// The authenticator knows no access entries: EKS's own part in front of it does. For the state after the migration the plan's entries
/// are written as lines of aws-auth, which is the closest that a real authenticator can be asked: the same type of username, with the same
/// placeholders rendered by the same code, the same groups, and who has no entry has no line. Policies are no groups, and are left out.
fn as_lines(plan: &Value) -> String {
    let entries = plan["entries"].as_array().expect("entries").iter();
    let lines: Vec<Value> = entries
        .map(|entry| {
            let arn = entry["principalArn"].as_str().expect("an ARN");
            let item = plan["proof"]["items"].as_array().expect("items").iter().find(|item| item["principal"] == arn);
            let after = &item.expect("the proof has everyone")["after"];
            // aws-auth wants the role's ARN without its path.
            let (start, name) = (arn.split("role/").next().expect("a role"), arn.rsplit('/').next().expect("a name"));
            json!({"rolearn": format!("{start}role/{name}"), "username": after["username"], "groups": after["groups"]})
        })
        .collect();
    let data = json!({"mapRoles": Value::Array(lines).to_string()});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "aws-auth", "namespace": "kube-system"}, "data": data})
        .to_string()
}

#[test]
fn the_real_authenticator_answers_as_the_plan_says() {
    let parts = ["kube-apiserver", "kubectl", "awscli", "aws-iam-authenticator"];
    let Some(bed) = Testbed::require(&parts) else {
        return;
    };
    let roles = [
        "demo-node",
        "demo-admin",
        "Dev",
        "Robot",
        "AWSReservedSSO_View_0123456789abcdef",
        "Nobody",
    ];
    let people: BTreeMap<&str, Identity> = roles
        .iter()
        .map(|role| {
            (
                *role,
                session(
                    role,
                    if *role == "demo-node" {
                        "i-0123456789abcdef0"
                    } else {
                        "jo@example.com"
                    },
                ),
            )
        })
        .collect();
    let identities: Vec<Identity> = people.values().cloned().collect();
    let mut authenticator = Authenticator::prepare(&bed, "demo", &identities);
    let server = authenticator.api_server(&bed);
    server.apply(&format!("{AWS_AUTH}{LINES}"));
    server.apply(BINDINGS);
    authenticator.follow(&server);

    let standin = Standin::start(world(&server)).expect("the stand-ins");
    let context = cluster_arn(ACCOUNT);
    let shell = Shell::new(
        &bed,
        &server.kubeconfig(&context, server.token(User::Admin)),
        standin.env(),
    );
    let plan = shell
        .capt_spot(&["access", "migrate", "-o", "json"])
        .expect(1)
        .json();

    let tokens: BTreeMap<&str, String> = people
        .iter()
        .map(|(role, identity)| {
            let mut get_token = bed.command("awscli", shell.home());
            get_token
                .envs(identity.environment())
                .args(["eks", "get-token", "--cluster-name", "demo"]);
            let credential: Value = serde_json::from_str(&succeed(output(get_token))).expect("JSON");
            (
                *role,
                credential["status"]["token"]
                    .as_str()
                    .expect("a token")
                    .to_owned(),
            )
        })
        .collect();
    // Who the API server says they are: username and groups, or no one.
    let whoami = |role: &str| -> Option<(String, Vec<String>)> {
        shell.write_kubeconfig(&server.kubeconfig(&context, &tokens[role]));
        let ran = shell.kubectl(&["auth", "whoami", "-o", "json"]);
        if ran.code != 0 {
            assert!(
                ran.stderr.contains("Unauthorized") || ran.stderr.contains("logged in"),
                "{}",
                ran.stderr
            );
            return None;
        }
        let user = &ran.json()["status"]["userInfo"];
        let mut groups: Vec<String> = serde_json::from_value(user["groups"].clone()).expect("groups");
        groups.retain(|group| group != "system:authenticated");
        groups.sort();
        Some((user["username"].as_str().expect("a username").to_owned(), groups))
    };
    let promised = |role: &str, when: &str| -> Option<(String, Vec<String>)> {
        let items = plan["proof"]["items"].as_array().expect("items").iter();
        let of_role = |item: &&Value| {
            item["principal"]
                .as_str()
                .expect("an ARN")
                .ends_with(&format!("/{role}"))
        };
        let side = &items.clone().find(of_role)?[when];
        let mut groups: Vec<String> = serde_json::from_value(side.get("groups")?.clone()).expect("groups");
        groups.sort();
        // Placeholders as the authenticator renders them for this session; the node's instance is not looked up in EC2.
        let username = side["username"]
            .as_str()?
            .replace("{{SessionName}}", "jo-example.com");
        Some((username, groups))
    };
    for when in ["before", "after"] {
        if when == "after" {
            server.apply(&as_lines(&plan));
            // Robot's username is another one then.
            until("aws-auth has the entries", || {
                whoami("Robot") == promised("Robot", "after")
            });
        } else {
            until("aws-auth maps the roles", || {
                whoami("Robot") == promised("Robot", "before")
            });
        }
        for role in [
            "demo-admin",
            "Dev",
            "Robot",
            "AWSReservedSSO_View_0123456789abcdef",
            "Nobody",
        ] {
            // The API server remembers for a while what the authenticator answered.
            until(&format!("{role} {when}"), || whoami(role) == promised(role, when));
        }
    }
    // Who is called the same is the same to the authenticator.
    let same = plan["proof"]["items"].as_array().expect("items").iter();
    let same: Vec<&str> = same
        .filter(|item| item["result"] == "same")
        .map(|item| {
            item["principal"]
                .as_str()
                .expect("an ARN")
                .rsplit('/')
                .next()
                .expect("a name")
        })
        .filter(|name| roles.contains(name))
        .collect();
    assert_eq!(same, ["AWSReservedSSO_View_0123456789abcdef"]);
}
