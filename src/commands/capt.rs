//! CAPT's management cluster: what `template check --from-cluster` reads there, and the way from it to a workload
//! cluster (`--capt`).

use jiff::Timestamp;

use crate::capt::check::Management;
use crate::cli::Global;
use crate::cluster;
use crate::cluster::clues::{self, About};
use crate::cluster::resolve::{CaptCluster, InMemory, Plain, Request};
use crate::commands::{self, CliError};
use crate::facts::Options;
use crate::facts::management::{self, Templates};
use crate::kube::Api;
use crate::model::Calls;
use crate::model::Exit;
use crate::model::permission::rule;
use crate::model::{Observed, Unknown};
use crate::terminal::{self, Ui};

/// `--capt NAME` with `-n`, as part of a request.
pub fn cluster(name: Option<&String>, global: &Global) -> Option<CaptCluster> {
    name.map(|name| CaptCluster {
        name: name.clone(),
        namespace: global.namespace.clone(),
    })
}

/// A name goes into a URL's path: what Kubernetes takes for a name, and nothing else.
fn checked<'a>(what: &str, name: &'a str) -> Result<&'a str, CliError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    if bytes.len() <= 253 && bytes.iter().all(|b| plain(*b)) && ends(bytes.first()) && ends(bytes.last()) {
        return Ok(name);
    }
    Err(CliError::usage(format!(
        "{what} \"{name}\" is not a Kubernetes name: lower-case letters, digits, - and ."
    )))
}

/// Where it is read, in words.
fn place(plain: &Plain) -> String {
    format!("the management cluster (context {})", plain.context.name)
}

fn undecided(message: String) -> CliError {
    CliError {
        message,
        exit: Exit::Undecided,
    }
}

/// What to ask for, when a permission would help; on a line of its own.
fn fix(unknown: &Unknown, place: &str) -> String {
    unknown
        .grant
        .as_ref()
        .map(|grant| format!("\n  fix: on {place}, ask for {}", rule(grant)))
        .unwrap_or_default()
}

async fn management(request: &Request, options: &Options, calls: &Calls) -> Result<(Plain, Api), CliError> {
    let plain = cluster::plain(request).await?;
    match management::connect(&plain, options, calls).await {
        Ok(api) => Ok((plain, api)),
        Err(unknown) => Err(undecided(format!(
            "{} could not be asked: {unknown}{}",
            place(&plain),
            fix(&unknown, &place(&plain))
        ))),
    }
}

/// Reads the WorkspaceTemplates and CAPTControlPlanes of the management cluster.
///
/// # Errors
/// The context cannot be used. What could not be read there is part of the answer.
pub async fn fetch(global: &Global) -> Result<Management, CliError> {
    let ui = Ui::new(global.color, global.verbose, true);
    let calls = Calls::default();
    let work = read(global, &calls);
    let result = ui.progress("reading the management cluster", work).await;
    if global.verbose > 0 {
        for call in calls.sorted() {
            terminal::err(&format!("  {} -> {}", call.call, call.answer));
        }
    }
    result
}

async fn read(global: &Global, calls: &Calls) -> Result<Management, CliError> {
    let namespace = match &global.namespace {
        Some(name) => Some(checked("the namespace", name)?),
        None => None,
    };
    let (plain, api) = management(&commands::request(global), &commands::options(global), calls).await?;
    let there = management::templates(&api, namespace).await;
    Ok(judgeable(there, namespace, &plain))
}

/// What was read, and in words what was not.
fn judgeable(there: Templates, namespace: Option<&str>, plain: &Plain) -> Management {
    let place = place(plain);
    let unread = |call: &str, unknown: &Unknown| {
        let grant = unknown
            .grant
            .as_ref()
            .map(|grant| format!("; on {place}, ask for {}", rule(grant)))
            .unwrap_or_default();
        let narrower = match (&unknown.grant, namespace) {
            (Some(_), None) => ", or name a namespace with -n",
            _ => "",
        };
        format!("{call} on {place}: {unknown}{grant}{narrower}")
    };
    let mut management = Management {
        namespace: namespace.map(str::to_owned),
        scope: plain.scope.clone(),
        ..Management::default()
    };
    match there.templates.observed {
        Observed::Known(templates) => management.templates = templates,
        Observed::Absent => management.unread.push(format!(
            "{place} does not serve WorkspaceTemplates ({}): CAPT is not installed there, or another cluster is the management cluster (--context)",
            management::INFRASTRUCTURE
        )),
        Observed::Unknown(unknown) => management.unread.push(unread(&there.templates.call, &unknown)),
    }
    match there.control_planes.observed {
        Observed::Known(planes) => management.control_planes = planes,
        // Without templates the first answer says it all.
        Observed::Absent if management.unread.is_empty() => management.notes.push(format!(
            "{place} does not serve CAPTControlPlanes ({}): which cluster uses a template is not known",
            management::CONTROL_PLANE
        )),
        Observed::Unknown(unknown) => management.notes.push(format!(
            "which cluster uses a template is not known: {}",
            unread(&there.control_planes.call, &unknown)
        )),
        Observed::Absent => {}
    }
    management
}

/// The request that goes on from the management cluster to the workload cluster, whose kubeconfig stays in memory.
///
/// # Errors
/// The management cluster cannot be reached, the Secret is not there, may not be read, or holds no kubeconfig that may
/// be used here.
pub async fn workload(
    request: &Request,
    capt: &CaptCluster,
    options: &Options,
    calls: &Calls,
) -> Result<Request, CliError> {
    let name = checked("--capt", &capt.name)?;
    if let Some(namespace) = &capt.namespace {
        checked("the namespace", namespace)?;
    }
    let (plain, api) = management(request, options, calls).await?;
    let place = place(&plain);
    let namespace = capt
        .namespace
        .clone()
        .or_else(|| plain.context.namespace.clone())
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or_else(|| "default".to_owned());
    let namespace = checked("the context's namespace", &namespace)?;
    let secret = format!(
        "the Secret {namespace}/{} on {place}",
        management::secret_name(name)
    );
    let (mut config, context) = match management::kubeconfig(&api, namespace, name).await {
        Observed::Known(Ok(found)) => found,
        Observed::Known(Err(why)) => {
            return Err(CliError::failed(format!(
                "{secret} cannot be used: {why}\n  fix: see what wrote it (CAPT, Cluster API or you): {}",
                plain.scope.kubectl(&[
                    "describe",
                    "secret",
                    &management::secret_name(name),
                    "-n",
                    namespace
                ])
            )));
        }
        Observed::Absent => return Err(missing(&api, &secret, name, namespace, &plain).await),
        Observed::Unknown(unknown) => {
            return Err(undecided(format!(
                "{secret} could not be read: {unknown}{}",
                fix(&unknown, &place)
            )));
        }
    };
    management::vet(&context, options.use_exec)
        .map_err(|why| CliError::failed(format!("{secret} cannot be used: {why}")))?;
    let mut clues = clues::collect(&context, &request.flags, None);
    let wants_token = management::wants_token(&context, options.use_exec, Timestamp::now());
    let by_secret = clues.believed(About::Cluster).map(|clue| clue.value.clone());
    // What the Secret says about a token that is made here counts only where the person said it, too.
    let by_person = request
        .flags
        .cluster
        .clone()
        .or_else(|| by_secret.clone().filter(|cluster| cluster == name));
    let mut told = Vec::new();
    let mut unread = None;
    if by_secret.is_none() || clues.believed(About::Region).is_none() || (wants_token && by_person.is_none())
    {
        // Only now: most kubeconfigs tell, and this is one permission more.
        let planes = management::control_planes(&api, Some(namespace)).await;
        match &planes.observed {
            Observed::Known(planes) => {
                told = management::of_cluster(planes, name)
                    .map(management::told)
                    .unwrap_or_default();
            }
            Observed::Absent => {}
            Observed::Unknown(unknown) => {
                unread = Some(format!("{}: {unknown}{}", planes.call, fix(unknown, &place)))
            }
        }
        clues.all.extend(told.iter().cloned());
    }
    if wants_token {
        let by_control_plane = told.iter().find(|clue| clue.about == About::Cluster);
        let cluster = by_person.or_else(|| by_control_plane.map(|clue| clue.value.clone()));
        match (cluster, clues.believed(About::Region)) {
            (Some(cluster), Some(region)) => {
                let answer = match management::expired_token(&context, Timestamp::now()) {
                    Some(end) => format!("expired at {end}; one of the AWS credentials is used instead"),
                    None => "one of the AWS credentials is used, and no profile, role or environment of the Secret's".to_owned(),
                };
                let profile = request.flags.profile.as_deref();
                management::own_token(&mut config, &context, &cluster, &region.value, profile);
                calls.record(
                    &format!("token of {namespace}/{}", management::secret_name(name)),
                    answer,
                );
            }
            (None, _) if by_secret.is_some() => {
                let by_secret = by_secret.unwrap_or_default();
                return Err(CliError::failed(format!(
                    "{secret} cannot be used: only the Secret names the cluster \"{by_secret}\", and a token for a cluster is made where you, or the CAPTControlPlane, name it\n  fix: if that is the cluster, say --cluster-name {}",
                    crate::text::quote(&by_secret)
                )));
            }
            // Which cluster it is cannot be told: said where the context is resolved.
            _ => {}
        }
    }
    Ok(Request {
        in_memory: Some(InMemory {
            kubeconfig: config,
            context: context.name,
            own: [
                plain.scope.words(),
                ["--capt", name, "-n", namespace].map(str::to_owned).to_vec(),
            ]
            .concat(),
            told,
            origin: secret,
            unread,
        }),
        capt: None,
        ..request.clone()
    })
}

/// The Secret is not there: says how far CAPT is, and where to look.
async fn missing(api: &Api, secret: &str, name: &str, namespace: &str, plain: &Plain) -> CliError {
    let planes = management::control_planes(api, Some(namespace)).await;
    let progress = planes
        .known()
        .map(|planes| match management::of_cluster(planes, name) {
            Some(plane) => format!("; {}", management::progress(plane)),
            None => format!("; no CAPTControlPlane in {namespace} is of a Cluster {name}"),
        })
        .unwrap_or_default();
    CliError::failed(format!(
        "{secret} does not exist{progress}\n  fix: --capt takes the name of the Cluster, -n its namespace: {}; CAPT writes the Secret once the control plane is up",
        plain.scope.kubectl(&["get", "clusters.cluster.x-k8s.io", "-A"])
    ))
}

/// Why the workload cluster's target could not be told, with where its kubeconfig is from.
pub fn not_resolved(given: &InMemory, error: &cluster::TargetError) -> CliError {
    let unread = given
        .unread
        .as_ref()
        .map(|unread| format!("\n  its CAPTControlPlane could not be asked either: {unread}"))
        .unwrap_or_default();
    CliError::failed(format!("the kubeconfig in {}: {error}{unread}", given.origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_go_into_a_path() {
        for (name, good) in [
            ("demo", true),
            ("demo-1.prod", true),
            ("", false),
            ("-demo", false),
            ("Demo", false),
            ("a/../../b", false),
            ("..", false),
            ("a?b", false),
            ("a%2fb", false),
            ("demo\n", false),
        ] {
            assert_eq!(checked("--capt", name).is_ok(), good, "{name}");
        }
        assert!(checked("--capt", &"a".repeat(254)).is_err());
    }

    #[test]
    fn a_kubeconfig_is_never_written_out() {
        // The type that carries it into errors and reports has nothing secret in its fields but the kubeconfig itself,
        // whose secrets kube hides.
        let config = kube::config::Kubeconfig::from_yaml(
            "users: [{name: u, user: {token: very-secret-token, password: very-secret-password}}]",
        )
        .expect("a kubeconfig");
        let shown = format!("{config:?}");
        assert!(!shown.contains("very-secret"), "{shown}");
    }
}
