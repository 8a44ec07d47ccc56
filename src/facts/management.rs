//! A Cluster API management cluster with CAPT on it: its WorkspaceTemplates and CAPTControlPlanes, and the kubeconfig of
//! a workload cluster from its Secret.
//!
//! Kinds and names as CAPT has them (appthrust/capt: `api/v1beta1`, `api/controlplane/v1beta1`, which `v1beta2` follows;
//! `internal/controller/controlplane/secrets.go` for the Secret), the Secret as in Cluster API's contract: named
//! `CLUSTER-kubeconfig`, key `value`. The management cluster need not be EKS.

use base64::Engine as _;
use futures_util::join;
use jiff::Timestamp;
use kube::config::Kubeconfig;
use serde_json::Value;

pub use super::connect::connect_plain as connect;
use crate::cluster::clues::{About, Clue, ClueSource, looks_like_region};
use crate::cluster::exec;
use crate::cluster::kubeconfig::{self, KubeContext};
use crate::kube::{Api, Resource};
use crate::model::{Fact, Observed};

/// The group of WorkspaceTemplates.
pub const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io";

/// The group of CAPTControlPlanes.
pub const CONTROL_PLANE: &str = "controlplane.cluster.x-k8s.io";

/// The versions that CAPT serves, the one that every release has first. They do not differ in what is read here.
const VERSIONS: [&str; 2] = ["v1beta1", "v1beta2"];

/// What CAPT keeps on the management cluster, or in one of its namespaces.
#[derive(Debug, Clone, PartialEq)]
pub struct Templates {
    /// The WorkspaceTemplates. Absent: the cluster does not serve the kind.
    pub templates: Fact<Vec<Value>>,
    /// The CAPTControlPlanes. Absent: the cluster does not serve the kind.
    pub control_planes: Fact<Vec<Value>>,
}

/// Reads both lists at the same time.
pub async fn templates(api: &Api, namespace: Option<&str>) -> Templates {
    let (templates, control_planes) = join!(
        list(
            api,
            INFRASTRUCTURE,
            "WorkspaceTemplate",
            "workspacetemplates",
            namespace
        ),
        control_planes(api, namespace)
    );
    Templates {
        templates,
        control_planes,
    }
}

/// The CAPTControlPlanes of a namespace, or all. Absent: the cluster does not serve the kind.
pub async fn control_planes(api: &Api, namespace: Option<&str>) -> Fact<Vec<Value>> {
    list(
        api,
        CONTROL_PLANE,
        "CAPTControlPlane",
        "captcontrolplanes",
        namespace,
    )
    .await
}

/// Cluster API's Clusters of a namespace, or all. Absent: the cluster does not serve the kind.
pub async fn clusters(api: &Api, namespace: Option<&str>) -> Fact<Vec<Value>> {
    // Newest first: v1beta1 is on its way out.
    list_versions(
        api,
        ["v1beta2", "v1beta1"],
        "cluster.x-k8s.io",
        "Cluster",
        "clusters",
        namespace,
    )
    .await
}

/// The control planes of CAPA, Cluster API's own provider for EKS. Absent: the cluster does not serve the kind.
pub async fn capa_control_planes(api: &Api, namespace: Option<&str>) -> Fact<Vec<Value>> {
    list_versions(
        api,
        ["v1beta2", "v1beta1"],
        CONTROL_PLANE,
        "AWSManagedControlPlane",
        "awsmanagedcontrolplanes",
        namespace,
    )
    .await
}

async fn list(api: &Api, group: &str, kind: &str, plural: &str, namespace: Option<&str>) -> Fact<Vec<Value>> {
    list_versions(api, VERSIONS, group, kind, plural, namespace).await
}

async fn list_versions(
    api: &Api,
    versions: [&str; 2],
    group: &str,
    kind: &str,
    plural: &str,
    namespace: Option<&str>,
) -> Fact<Vec<Value>> {
    let versions = versions.map(|version| {
        // A template has a whole Terraform module in it.
        let all = Resource::new(group, version, kind, plural).paged_by(100);
        namespace.map_or(all, |namespace| all.within(namespace))
    });
    api.list_served(&versions, Vec::new, |items, item, _| {
        let mut item = item.clone();
        // Half of an object, and nothing that is judged.
        if let Some(metadata) = item.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        items.push(item);
    })
    .await
}

/// The name of the Secret with a cluster's kubeconfig.
pub fn secret_name(cluster: &str) -> String {
    format!("{cluster}-kubeconfig")
}

/// The kubeconfig of a workload cluster with the context to use, or, in words without its content, why what the Secret
/// holds is none. Absent: there is no such Secret.
pub async fn kubeconfig(
    api: &Api,
    namespace: &str,
    cluster: &str,
) -> Observed<Result<(Kubeconfig, KubeContext), String>> {
    let secrets = Resource::core("Secret", "secrets").within(namespace);
    api.get(&secrets, &secret_name(cluster), |secret| Ok(parse(secret)))
        .await
        .observed
}

/// Reads the Secret. Whatever is wrong, its content is not repeated.
fn parse(secret: &Value) -> Result<(Kubeconfig, KubeContext), String> {
    if secret.get("kind").and_then(Value::as_str) != Some("Secret") {
        return Err("the answer is not a Secret".to_owned());
    }
    let data = secret.get("data").and_then(Value::as_object);
    let Some(value) = data.and_then(|data| data.get("value")).and_then(Value::as_str) else {
        let keys: Vec<&str> = data
            .into_iter()
            .flat_map(|data| data.keys())
            .map(String::as_str)
            .take(10)
            .collect();
        let keys = if keys.is_empty() {
            "no keys at all".to_owned()
        } else {
            format!("only {}", keys.join(", "))
        };
        return Err(format!(
            "it has no key \"value\", where Cluster API puts the kubeconfig, {keys}"
        ));
    };
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(value.trim())
        .map_err(|_| "its key \"value\" is not base64".to_owned())?;
    let text = String::from_utf8(bytes).map_err(|_| "its key \"value\" is not text".to_owned())?;
    if text.trim().is_empty() {
        return Err("its key \"value\" is empty: it has not been filled in yet".to_owned());
    }
    if let Err(error) = serde_yaml::from_str::<serde_json::Value>(&text) {
        // Only the place: the parser's message shows the text around it, which can be a token.
        let place = error
            .location()
            .map(|at| format!(" (line {}, column {})", at.line(), at.column()))
            .unwrap_or_default();
        return Err(format!("its key \"value\" is not YAML{place}"));
    }
    let mut config = Kubeconfig::from_yaml(&text)
        .map_err(|_| "its key \"value\" is YAML, but not a kubeconfig".to_owned())?;
    if config.current_context.as_deref().is_none_or(str::is_empty) {
        match config.contexts.as_slice() {
            [] => return Err("its kubeconfig has no context".to_owned()),
            [only] => config.current_context = Some(only.name.clone()),
            several => {
                return Err(format!(
                    "its kubeconfig has {} contexts and sets no current-context",
                    several.len()
                ));
            }
        }
    }
    kubeconfig::plain_servers(&mut config);
    let context = kubeconfig::context(&config, None).map_err(|error| {
        let text = error.to_string();
        let sentence = text.lines().next().unwrap_or_default();
        format!("its kubeconfig is broken: {sentence}")
    })?;
    if context.cluster.server.as_deref().is_none_or(str::is_empty) {
        return Err("its kubeconfig names no server".to_owned());
    }
    Ok((config, context))
}

/// Whether a kubeconfig that came from a cluster may be used on this machine. What it could do here, beyond talking to
/// the server it names, is refused: it must not run a program (unless `--use-exec` allows it), nor send a file of this
/// machine to its server as a token.
///
/// # Errors
/// What it wants.
pub fn vet(context: &KubeContext, use_exec: bool) -> Result<(), String> {
    let user = &context.user;
    let files = [
        ("tokenFile", &user.token_file),
        ("client-certificate", &user.client_certificate),
        ("client-key", &user.client_key),
        ("certificate-authority", &context.cluster.certificate_authority),
    ];
    for (field, value) in files {
        if let Some(path) = value.as_deref().filter(|path| !path.is_empty()) {
            return Err(format!(
                "its kubeconfig names a file ({field}: {path}); a file is on the machine where it was written, so the kubeconfig must hold the data itself"
            ));
        }
    }
    if user.auth_provider.is_some() {
        return Err("its kubeconfig has an auth-provider, which Kubernetes has dropped".to_owned());
    }
    let Some(entry) = &user.exec else { return Ok(()) };
    let known = exec::known(entry);
    let made_here = known
        .as_ref()
        .is_some_and(|known| known.not_reproducible.is_none() && known.cluster.is_some());
    if made_here || use_exec {
        return Ok(());
    }
    let command = entry.command.as_deref().unwrap_or("(no command)");
    let why = match known.and_then(|known| known.not_reproducible) {
        Some(why) => format!(", and {why}"),
        None => String::new(),
    };
    Err(format!(
        "its kubeconfig wants to run the program \"{command}\" on this machine{why}; a program named by a Secret is not run unasked\n  fix: if you trust whoever can write that Secret, say --use-exec"
    ))
}

/// The CAPTControlPlane of a Cluster: by Cluster API's label, by its owner, else by its own name, as CAPT's controller
/// looks for the Cluster the other way round.
pub fn of_cluster<'a>(control_planes: &'a [Value], cluster: &str) -> Option<&'a Value> {
    let labelled = |plane: &&Value| {
        let labels = plane.pointer("/metadata/labels");
        labels
            .and_then(|labels| labels.get("cluster.x-k8s.io/cluster-name"))
            .and_then(Value::as_str)
            == Some(cluster)
    };
    let owned = |plane: &&Value| {
        let owners = plane
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array);
        owners
            .into_iter()
            .flatten()
            .any(|owner| owner["kind"] == "Cluster" && owner["name"] == cluster)
    };
    let named = |plane: &&Value| {
        plane.pointer("/metadata/name").and_then(Value::as_str) == Some(cluster)
            && plane
                .pointer("/metadata/labels/cluster.x-k8s.io~1cluster-name")
                .is_none()
    };
    let find = |test: &dyn Fn(&&Value) -> bool| control_planes.iter().find(|plane| test(plane));
    find(&labelled).or_else(|| find(&owned)).or_else(|| find(&named))
}

/// What a CAPTControlPlane, or one of CAPA's, tells of its EKS cluster: the region it is made in, and the name among the module's
/// outputs where CAPT shows them. Its own name is not taken for the cluster's: a module may name it otherwise.
pub fn told(control_plane: &Value) -> Vec<Clue> {
    let text = |pointer: &str| {
        control_plane
            .pointer(pointer)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let clue = |about, value: &str| Clue {
        about,
        value: value.to_owned(),
        source: ClueSource::ControlPlane,
    };
    let region = text("/spec/controlPlaneConfig/region")
        .or_else(|| text("/spec/region"))
        .filter(|region| looks_like_region(region));
    let name =
        text("/status/workspaceTemplateStatus/outputs/cluster_name").or_else(|| text("/spec/eksClusterName"));
    region
        .map(|region| clue(About::Region, region))
        .into_iter()
        .chain(name.map(|name| clue(About::Cluster, name)))
        .collect()
}

/// How far a CAPTControlPlane has come, in words.
pub fn progress(control_plane: &Value) -> String {
    let phase = control_plane
        .pointer("/status/phase")
        .and_then(Value::as_str)
        .unwrap_or("without a phase");
    let secrets = match control_plane
        .pointer("/status/secretsReady")
        .and_then(Value::as_bool)
    {
        Some(true) => ", its secrets are said to be ready",
        Some(false) => ", its secrets are not ready yet",
        None => "",
    };
    let failure = control_plane
        .pointer("/status/failureMessage")
        .and_then(Value::as_str)
        .map(|message| format!(" ({message})"))
        .unwrap_or_default();
    format!("its CAPTControlPlane is {phase}{failure}{secrets}")
}

/// When EKS stops taking a token of `aws eks get-token`: 15 minutes after it was signed (aws-iam-authenticator,
/// `pkg/token`). None for anything else than such a token.
pub fn eks_token_end(token: &str) -> Option<Timestamp> {
    let encoded = token.trim().strip_prefix("k8s-aws-v1.")?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(encoded.trim_end_matches('='))
        .ok()?;
    let url = String::from_utf8(bytes).ok()?;
    let (_, query) = url.split_once('?')?;
    let signed = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("X-Amz-Date="))?;
    let signed = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", signed).ok()?;
    let signed = signed.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    signed.checked_add(jiff::SignedDuration::from_mins(15)).ok()
}

/// Where the context's user has a token of EKS that EKS takes no longer at `now`: since when.
///
/// CAPT's kubeconfig template writes such a token when Terraform runs, so the Secret's is mostly too old.
pub fn expired_token(context: &KubeContext, now: Timestamp) -> Option<Timestamp> {
    // The token's type keeps it from being read by accident; its serializer gives it.
    let user = serde_json::to_value(&context.user).ok()?;
    let end = eks_token_end(user.get("token")?.as_str()?)?;
    (end < now).then_some(end)
}

/// Has the kubeconfig's current user ask for a token of the person's own AWS credentials, of this profile where one is named, and of
/// nothing that the Secret says.
pub fn own_token(
    config: &mut Kubeconfig,
    context: &KubeContext,
    cluster: &str,
    region: &str,
    profile: Option<&str>,
) {
    let mut args = vec![
        "eks",
        "get-token",
        "--cluster-name",
        cluster,
        "--region",
        region,
        "--output",
        "json",
    ];
    if let Some(profile) = profile {
        args.extend(["--profile", profile]);
    }
    let own = serde_json::json!({
        "exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "aws", "args": args}
    });
    let Ok(own) = serde_json::from_value(own) else {
        return;
    };
    let user = config
        .auth_infos
        .iter_mut()
        .find(|user| Some(&user.name) == context.user_name.as_ref());
    if let Some(user) = user {
        user.auth_info = Some(own);
    }
}

/// Whether the user of this context wants a token that is made here.
pub fn wants_token(context: &KubeContext, use_exec: bool, now: Timestamp) -> bool {
    expired_token(context, now).is_some() || !use_exec && context.user.exec.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn encode(text: &str) -> String {
        base64::engine::general_purpose::STANDARD.encode(text)
    }

    fn secret(value: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "data": {"value": encode(value)}})
    }

    const TOKEN: &str = "very-secret-token";

    fn config(user: &str, cluster: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: k, cluster: {cluster}}}]\n\
             contexts: [{{name: c, context: {{cluster: k, user: u}}}}]\nusers: [{{name: u, user: {user}}}]\n"
        )
    }

    fn context(user: &str, cluster: &str) -> KubeContext {
        parse(&secret(&config(user, cluster))).expect("a kubeconfig").1
    }

    #[test]
    fn what_a_secret_can_hold() {
        let good = config(&format!("{{token: {TOKEN}}}"), "{server: 'https://a.example'}");
        let (_, context) = parse(&secret(&good)).expect("a kubeconfig");
        assert_eq!(context.name, "c");
        let one_context = good.replace("current-context: c\n", "");
        assert_eq!(parse(&secret(&one_context)).expect("the only one").1.name, "c");
        let none = json!({"kind": "Secret"});
        let not_base64 = json!({"kind": "Secret", "data": {"value": "*"}});
        let other_key = json!({"kind": "Secret", "data": {"kubeconfig": encode(&good)}});
        for (secret, says) in [
            (none, "no keys at all"),
            (not_base64, "not base64"),
            (other_key, "only kubeconfig"),
            (json!({"kind": "Status"}), "not a Secret"),
            (secret(" \n"), "empty"),
            (secret(&format!("{TOKEN}: [")), "not YAML (line "),
            (secret(&format!("users: {TOKEN}")), "not a kubeconfig"),
            (secret(TOKEN), "not a kubeconfig"),
            (secret("kind: Config\n"), "no context"),
            (
                secret(&good.replace("cluster: k,", "cluster: x,")),
                "names the cluster \"x\"",
            ),
            (
                secret(&good.replace("user: u}", "user: x}")),
                "names the user \"x\"",
            ),
            (secret(&good.replace("https://a.example", "")), "no server"),
        ] {
            let why = parse(&secret).map(|_| ()).expect_err(says);
            assert!(why.contains(says), "{says}: {why}");
            assert!(!why.contains(TOKEN), "{why}");
            assert!(!why.contains('\n'), "{why}");
        }
    }

    #[test]
    fn a_kubeconfig_from_a_secret_runs_nothing_and_reads_no_file() {
        let server = "{server: 'https://a.example'}";
        let get_token = "{command: aws, args: [eks, get-token, --cluster-name, demo]}";
        let unknown_flag =
            "{command: aws, args: [eks, get-token, --cluster-name, demo, --endpoint-url, 'http://b']}";
        for (user, cluster, use_exec, refused) in [
            ("{token: t}", server, false, None),
            (
                "{client-certificate-data: QQ==, client-key-data: QQ==}",
                server,
                false,
                None,
            ),
            (&*format!("{{exec: {get_token}}}"), server, false, None),
            (
                "{exec: {command: /bin/sh, args: [-c, id]}}",
                server,
                false,
                Some("\"/bin/sh\""),
            ),
            ("{exec: {command: /bin/sh, args: [-c, id]}}", server, true, None),
            (
                &format!("{{exec: {unknown_flag}}}"),
                server,
                false,
                Some("--endpoint-url"),
            ),
            (
                "{tokenFile: /home/a/.ssh/id_rsa}",
                server,
                true,
                Some("tokenFile"),
            ),
            ("{token: t, client-key: k.pem}", server, false, Some("client-key")),
            (
                "{token: t}",
                "{server: 'https://a', certificate-authority: ca.pem}",
                false,
                Some("certificate-authority"),
            ),
            (
                "{auth-provider: {name: gcp, config: {cmd-path: /bin/sh}}}",
                server,
                true,
                Some("auth-provider"),
            ),
        ] {
            let vetted = vet(&context(user, cluster), use_exec);
            match (vetted, refused) {
                (Ok(()), None) => {}
                (Err(why), Some(says)) => assert!(why.contains(says), "{user}: {why}"),
                (other, _) => panic!("{user}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_control_plane_of_a_cluster() {
        let plane = |name: &str, labels: Value, owner: &str| json!({"metadata": {"name": name, "labels": labels, "ownerReferences": [{"kind": "Cluster", "name": owner}]}});
        let label = |name: &str| json!({"cluster.x-k8s.io/cluster-name": name});
        let planes = [
            plane("b", label("a"), "a"),
            plane("a", label("b"), "b"),
            plane("c-x7k", json!({}), "c"),
            plane("d", json!({}), ""),
        ];
        for (cluster, found) in [
            ("a", Some("b")),
            ("b", Some("a")),
            ("c", Some("c-x7k")),
            ("d", Some("d")),
            ("e", None),
        ] {
            let name = of_cluster(&planes, cluster).and_then(|plane| plane["metadata"]["name"].as_str());
            assert_eq!(name, found, "{cluster}");
        }
        // Another cluster's control plane is not taken for its name's sake.
        assert_eq!(of_cluster(&planes[..1], "b"), None);
    }

    #[test]
    fn a_control_plane_tells_region_and_name_and_nothing_made_up() {
        let plane = json!({
            "metadata": {"name": "demo"},
            "spec": {"controlPlaneConfig": {"region": "eu-west-1"}},
            "status": {"workspaceTemplateStatus": {"outputs": {"cluster_name": "prod-demo"}}},
        });
        let said: Vec<(About, String)> = told(&plane)
            .into_iter()
            .map(|clue| (clue.about, clue.value))
            .collect();
        assert_eq!(
            said,
            [
                (About::Region, "eu-west-1".to_owned()),
                (About::Cluster, "prod-demo".to_owned())
            ]
        );
        let bare =
            json!({"metadata": {"name": "demo"}, "spec": {"controlPlaneConfig": {"region": "${REGION}"}}});
        assert_eq!(told(&bare), []);
    }

    #[test]
    fn eks_tokens_end_after_fifteen_minutes() {
        let token = |url: &str| {
            format!(
                "k8s-aws-v1.{}",
                base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(url)
            )
        };
        let signed = token(
            "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&X-Amz-Date=20200102T030405Z&X-Amz-Expires=60",
        );
        let end: Timestamp = "2020-01-02T03:19:05Z".parse().expect("a time");
        assert_eq!(eks_token_end(&signed), Some(end));
        for other in [
            "eyJhbGciOi",
            "k8s-aws-v1.",
            "k8s-aws-v1.%%",
            &token("https://a/?X-Amz-Date=yesterday"),
            &token("https://a"),
        ] {
            assert_eq!(eks_token_end(other), None, "{other}");
        }
        let context = context(&format!("{{token: {signed}}}"), "{server: 'https://a.example'}");
        let second = jiff::SignedDuration::from_secs(1);
        assert_eq!(expired_token(&context, end), None);
        assert_eq!(expired_token(&context, end + second), Some(end));
    }

    #[test]
    fn an_old_token_gives_way_to_one_of_the_callers_own() {
        let (mut config, context) = parse(&secret(&config(
            &format!("{{token: {TOKEN}}}"),
            "{server: 'https://a.example'}",
        )))
        .expect("a kubeconfig");
        own_token(&mut config, &context, "demo", "eu-west-1", None);
        let context = kubeconfig::context(&config, None).expect("the context");
        let known = context
            .user
            .exec
            .as_ref()
            .and_then(exec::known)
            .expect("a known plugin");
        assert_eq!(
            (known.cluster.as_deref(), known.region()),
            (Some("demo"), Some("eu-west-1"))
        );
        assert_eq!(known.not_reproducible, None);
        assert!(context.user.token.is_none());
    }
}
