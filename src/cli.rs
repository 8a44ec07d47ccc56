//! Every verb and flag.

pub mod access;
pub mod fleet;
pub mod gate;
pub mod hook;
pub mod schema;
pub mod template;
pub mod trust;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::facts::redact::Redact;
use crate::fleet::Shard;
use crate::text::{Output, ReportFile, When};
use eks_aws_auth::AuthenticationMode;

/// Will Karpenter get EC2 Spot capacity on this EKS cluster, and if not, what exactly must change?
#[derive(Debug, Parser)]
#[command(
    name = "capt-spot",
    version,
    long_about = "Will Karpenter get EC2 Spot capacity on this EKS cluster, and if not, what exactly must change?\n\n\
        Reads the account, the cluster and Karpenter's objects, judges them, and says what to do; creates the one account-wide \
        thing that is often missing, the service-linked role AWSServiceRoleForEC2Spot, after asking.",
    after_help = "Start with: kubectl capt-spot preflight     (VERB --help explains a verb)\n\n\
        Exit codes: 0 ready or done, 1 not ready or failed, 2 wrong usage, 3 undecided, 130 interrupted.",
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Flags of every verb.
    #[command(flatten)]
    pub global: Global,
}

/// Flags of every verb.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Kubeconfig context to use
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,
    /// Kubeconfig file, instead of KUBECONFIG and ~/.kube/config
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// Kubeconfig cluster entry to use instead of the context's
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub cluster: Option<String>,
    /// Kubeconfig user entry to use instead of the context's
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub user: Option<String>,
    /// Ask the cluster as this user: may the pipeline's identity install?
    #[arg(long = "as", global = true, value_name = "USER", help_heading = "Cluster")]
    pub as_user: Option<String>,
    /// Ask the cluster as a member of this group (repeatable; goes with --as)
    #[arg(
        long = "as-group",
        global = true,
        value_name = "GROUP",
        help_heading = "Cluster"
    )]
    pub as_groups: Vec<String>,
    /// Namespace (of a release, or of a Cluster API cluster)
    #[arg(short, long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub namespace: Option<String>,
    /// EKS cluster name (default: from the kubeconfig)
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub cluster_name: Option<String>,
    /// AWS region (default: from the kubeconfig)
    #[arg(long, global = true, value_name = "REGION", help_heading = "AWS")]
    pub region: Option<String>,
    /// AWS profile for reading AWS (and for creating the role)
    #[arg(long, global = true, value_name = "NAME", help_heading = "AWS")]
    pub profile: Option<String>,
    /// Run the kubeconfig's exec plugin even where the token can be made without it
    #[arg(long, global = true, help_heading = "Cluster")]
    pub use_exec: bool,
    /// How long to wait for one answer, retries included: 10s, 1m, or seconds; 0 waits forever
    #[arg(long, global = true, value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = "Cluster")]
    pub request_timeout: Duration,
    /// How long to read one cluster at most; what was not read by then is unknown. 0 waits forever
    #[arg(long, global = true, value_name = "DURATION", default_value = "2m", value_parser = duration, help_heading = "Cluster")]
    pub overall_timeout: Duration,
    /// Output format
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Output"
    )]
    pub output: Output,
    /// When to use colour: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        help_heading = "Output"
    )]
    pub color: When,
    /// Show every call and its answer, and where each finding comes from (-v=N as in kubectl; every N above 0 is the same)
    #[arg(
        short,
        long,
        visible_alias = "v",
        global = true,
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_value_t,
        default_missing_value = "1",
        hide_default_value = true,
        help_heading = "Output"
    )]
    pub verbose: u8,
    /// Print nothing but errors and what the output format asks for: no text, no progress; the exit code says the rest
    #[arg(short, long, global = true, help_heading = "Output")]
    pub quiet: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Read, judge, report; offer to create the missing role
    Preflight(Preflight),
    /// Create the service-linked role for EC2 Spot in the cluster's account, after asking
    CreateRole(CreateRole),
    /// The preflight of this very installation, then helm install with the same arguments
    #[command(disable_help_flag = true)]
    Install(HelmLine),
    /// The preflight of this very upgrade, then helm upgrade with the same arguments
    #[command(disable_help_flag = true)]
    Upgrade(HelmLine),
    /// Print the Job that runs the preflight in the cluster, for GitOps (Helm hook, Argo CD PreSync)
    Hook(hook::Hook),
    /// Post-renderer for helm: passes the chart on when ready, nothing and exit code 1 when not
    Gate(gate::Gate),
    /// Who the cluster authenticates principals as: username, groups, from which line or entry, and why not
    Whois(Whois),
    /// Who has access: list it, compare two states, plan the way from aws-auth to access entries
    #[command(subcommand)]
    Access(access::AccessCommand),
    /// CAPT WorkspaceTemplates: does the NodePool wait for the role? fix it
    #[command(subcommand)]
    Template(template::TemplateCommand),
    /// May a principal assume a role? CDK's kubectlRoleArn, and every cluster-admin role
    Trust(trust::Trust),
    /// The account's side alone, without a cluster: the Spot role, who may create it, quotas
    Account(Account),
    /// Many clusters: which there are, a Job that judges them, their results as one report
    #[command(subcommand)]
    Fleet(fleet::FleetCommand),
    /// What a check looks at, why it matters, how to fix it
    Explain(Explain),
    /// The least-privilege IAM policies and RBAC that the tool needs
    Policy(Policy),
    /// Print shell completion
    Completion(Completion),
    /// Print the version of this program; without --check no network is used
    Version(Version),
    /// Print the JSON Schema of a report
    #[command(hide = true)]
    Schema(Schema),
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder
        folder: PathBuf,
    },
}

/// How a verb's answer is reported.
#[derive(Debug, Clone, Default, Args)]
pub struct Reporting {
    /// List what passed and what does not apply, too
    #[arg(long)]
    pub show_all: bool,
    /// Write the report to a file, too, in another format: junit=report.xml (repeatable)
    #[arg(long, value_name = "FORMAT=FILE")]
    pub report: Vec<ReportFile>,
}

/// `version`
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(after_help = "Examples:\n  \
        kubectl capt-spot version\n  \
        kubectl capt-spot version -o json\n  \
        kubectl capt-spot version --check\n\n\
        Exit codes: 0 done, 1 the newest release is not known, 2 wrong usage.")]
pub struct Version {
    /// Ask the project's page of releases whether there is a newer one
    #[arg(long)]
    pub check: bool,
}

/// `schema`
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Schema {
    /// Which report
    #[arg(value_enum, default_value_t)]
    pub report: schema::Published,
}

/// The heading of the flags for many clusters.
const MANY: &str = "Many clusters";

/// How many clusters are read at a time, where nobody says otherwise.
const PARALLEL: usize = 16;

/// `preflight`
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:\n  \
        kubectl capt-spot preflight                        the current context\n  \
        kubectl capt-spot preflight --context prod -o markdown\n  \
        kubectl capt-spot preflight --only spot-role       one group of checks\n  \
        kubectl capt-spot preflight --yes --wait 5m        in a pipeline\n  \
        kubectl capt-spot preflight --save f.json --redact\n  \
        kubectl capt-spot preflight --from f.json          later, without network\n  \
        kubectl capt-spot preflight --contexts 'prod-*'    many clusters\n  \
        kubectl capt-spot preflight --clusters inventory.json -o ndjson\n\n\
        kubectl capt-spot explain lists the checks and groups.\n\
        Exit codes: 0 ready, 1 not ready, 2 wrong usage, 3 undecided, 130 interrupted.")]
pub struct Preflight {
    /// The role of Karpenter's nodes, by name or ARN, where nothing names it yet
    #[arg(long, value_name = "NAME|ARN", value_parser = role)]
    pub node_role: Option<String>,
    /// Manifests of the NodePools (and EC2NodeClasses) that are about to be applied; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub nodepools: Option<PathBuf>,
    /// Judge only these checks or groups (repeatable, or comma-separated)
    #[arg(long, value_name = "CHECK|GROUP", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Leave these checks or groups out (repeatable, or comma-separated)
    #[arg(long, value_name = "CHECK|GROUP", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Count a warning as a failure
    #[arg(long)]
    pub strict: bool,
    /// List what passed and what does not apply, too
    #[arg(long)]
    pub show_all: bool,
    /// Write the report to a file, too, in another format: junit=report.xml (repeatable)
    #[arg(long, value_name = "FORMAT=FILE")]
    pub report: Vec<ReportFile>,
    /// Apply the results as OpenReports objects to the context's cluster, or the one that this runs in, in its namespace
    #[arg(long, conflicts_with = "from")]
    pub publish: bool,
    /// Try again until it is ready, at most this long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Create the missing role without asking
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Never ask anything
    #[arg(long)]
    pub no_input: bool,
    /// Save what was read to a file, to be judged later; of many clusters, to a folder with a file a cluster
    #[arg(long, value_name = "FILE|FOLDER")]
    pub save: Option<PathBuf>,
    /// In the saved file, mask what identifies accounts, persons and machines, so that it can go into a public issue; with =names the
    /// names of roles, users and clusters, too. It says what it masked and what it left: read it through before
    #[arg(
        long,
        requires = "save",
        value_name = "ids|names",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "ids",
        value_parser = redact
    )]
    pub redact: Option<Redact>,
    /// Judge what was saved, without any network; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["save", "wait", "yes"])]
    pub from: Option<PathBuf>,
    /// Judge every EKS context of the kubeconfig
    #[arg(long, conflicts_with_all = ["contexts", "context", "from", "wait", "yes"], help_heading = MANY)]
    pub all_contexts: bool,
    /// Judge the contexts whose names match
    #[arg(long, value_name = "GLOB", conflicts_with_all = ["context", "from", "wait", "yes"], help_heading = MANY)]
    pub contexts: Option<String>,
    /// Judge the clusters of an inventory, which fleet list writes; no kubeconfig is needed. - is stdin
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["all_contexts", "contexts", "context", "from", "wait", "yes"],
        help_heading = MANY
    )]
    pub clusters: Option<PathBuf>,
    /// Judge only the accounts of the inventory that fall to this one of N runs, counted from 0: 0/4
    #[arg(long, value_name = "I/N", requires = "clusters", help_heading = MANY)]
    pub shard: Option<Shard>,
    /// How many clusters to read at a time
    #[arg(
        long,
        value_name = "N",
        default_value_t = PARALLEL,
        value_parser = parallel,
        help_heading = MANY
    )]
    pub parallel: usize,
    /// Judge this Cluster API cluster; the context is the management cluster's, -n the Cluster's namespace
    ///
    /// The workload cluster's kubeconfig is taken from the Secret NAME-kubeconfig and stays in memory. It may not run
    /// programs here (unless --use-exec is said) and may not name files.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "all_contexts", "contexts", "clusters"])]
    pub capt: Option<String>,
}

/// `install` and `upgrade`. Their words are helm's to understand and are taken before clap sees them
/// ([`crate::commands::install`]); this is for the list of verbs and for completion.
#[derive(Debug, Clone, Default, Args)]
pub struct HelmLine {
    /// Release, chart, helm's flags, and a few of our own
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "RELEASE CHART [FLAGS]"
    )]
    pub words: Vec<std::ffi::OsString>,
}

/// `create-role`
#[derive(Debug, Clone, Default, Args)]
#[command(
    long_about = "Create the service-linked role for EC2 Spot in the cluster's account, after asking.\n\n\
    The role is AWSServiceRoleForEC2Spot. It belongs to the account, not to the cluster: every cluster of the account uses it, \
    and it costs nothing. Account, endpoint and certificate authority are verified again right before it is created. -o json \
    and yaml give the outcome (created, exists, would-create, declined, refused, failed), the account and the role's ARN.",
    after_help = "Examples:\n  \
        kubectl capt-spot create-role                      asks first\n  \
        kubectl capt-spot create-role --context prod --dry-run\n  \
        kubectl capt-spot create-role --yes --expect-account 111122223333\n\n\
        Exit codes: 0 done (or there already), 1 failed, refused or not agreed to, 2 wrong usage, 130 interrupted."
)]
pub struct CreateRole {
    /// Create it without asking
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Refuse unless the cluster's account is this one
    #[arg(long, value_name = "ID", value_parser = account_id)]
    pub expect_account: Option<String>,
    /// Never ask anything
    #[arg(long)]
    pub no_input: bool,
    /// Take the account of this Cluster API cluster; the context is the management cluster's, -n the Cluster's namespace
    #[arg(long, value_name = "NAME")]
    pub capt: Option<String>,
    /// How it is reported
    #[command(flatten)]
    pub reporting: Reporting,
}

/// `account`
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:\n  \
    kubectl capt-spot account --region eu-west-1\n  \
    kubectl capt-spot account --profile prod -o json\n\n\
    For those who create the cluster next, or use Spot without Karpenter. Asks AWS with the credentials at hand; no kubeconfig \
    is read.\n\
    Exit codes: 0 ready, 1 not ready, 2 wrong usage, 3 undecided, 130 interrupted.")]
pub struct Account {
    /// A warning counts as a failure
    #[arg(long)]
    pub strict: bool,
    /// How it is reported
    #[command(flatten)]
    pub reporting: Reporting,
}

/// `whois`
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:\n  \
    kubectl capt-spot whois me\n  \
    kubectl capt-spot whois my-node-role\n  \
    kubectl capt-spot whois --all\n  \
    kubectl capt-spot whois arn:aws:iam::111122223333:role/dev -f aws-auth.yaml\n\n\
    With -f or --access-entries, files are judged: no network and no kubeconfig are needed.\n\
    Exit codes: 0 mapped, \
    1 not mapped, denied or ambiguous (or a file that cannot be read), 2 wrong usage, 3 undecided: something that decides \
    could not be read, 130 interrupted.")]
pub struct Whois {
    /// IAM or STS ARNs; names of roles; or me: the identity of the cluster's token
    #[arg(
        value_name = "ARN|ROLE-NAME|me",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub principals: Vec<String>,
    /// List every principal of the cluster, mapped and masked
    #[arg(long)]
    pub all: bool,
    /// Judge this aws-auth manifest (its bare data, or the template of cdk.out) instead of the cluster's; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub filename: Option<PathBuf>,
    /// Judge these access entries: a JSON array of DescribeAccessEntry's accessEntry objects; - is standard input
    #[arg(long, value_name = "FILE")]
    pub access_entries: Option<PathBuf>,
    /// Judge by this authentication mode: CONFIG_MAP, API_AND_CONFIG_MAP or API; otherwise the cluster's, or for files
    /// CONFIG_MAP, and API_AND_CONFIG_MAP with --access-entries
    #[arg(long, value_name = "MODE")]
    pub authentication_mode: Option<AuthenticationMode>,
    /// The instance's private DNS name, for {{EC2PrivateDNSName}}
    #[arg(long, value_name = "NAME")]
    pub private_dns_name: Option<String>,
    /// The access key id, for {{AccessKeyID}}
    #[arg(long, value_name = "ID")]
    pub access_key_id: Option<String>,
    /// The principal's unique id (AROA..., AIDA...), which an access entry is bound to
    #[arg(long, value_name = "ID")]
    pub principal_id: Option<String>,
    /// How it is reported
    #[command(flatten)]
    pub reporting: Reporting,
}

/// `explain`
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:\n  \
    kubectl capt-spot explain                          all checks\n  \
    kubectl capt-spot explain node-role-mapped\n  \
    kubectl capt-spot explain spot-role                a group of checks\n\n\
    Exit codes: 0 done, 2 no such check or group.")]
pub struct Explain {
    /// The check, or a group of them; without it, all of them are listed
    pub check: Option<String>,
}

/// `policy`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    kubectl capt-spot policy read --account 111122223333 > read.json\n  \
    kubectl capt-spot policy rbac --group platform | kubectl apply -f -\n\n\
    Exit codes: 0 done, 2 wrong usage.")]
pub struct Policy {
    /// Which document
    #[command(subcommand)]
    pub which: WhichPolicy,
}

/// Which document `policy` prints.
#[derive(Debug, Clone, Subcommand)]
pub enum WhichPolicy {
    /// The IAM policy that reading needs
    Read(PolicyScope),
    /// The IAM policy that creating the role needs
    Create(PolicyScope),
    /// The RBAC objects that reading needs
    Rbac(Rbac),
}

/// What a policy is narrowed to.
#[derive(Debug, Clone, Default, Args)]
pub struct PolicyScope {
    /// Account to narrow the policy to (default: any)
    #[arg(long, value_name = "ID", value_parser = account_id)]
    pub account: Option<String>,
    /// Partition: aws, aws-cn, aws-us-gov (default: from --region)
    #[arg(long, value_name = "NAME", value_parser = partition)]
    pub partition: Option<String>,
}

/// `policy rbac`
#[derive(Debug, Clone, Default, Args)]
pub struct Rbac {
    /// Whom to bind.
    #[command(flatten)]
    pub subject: RbacSubject,
    /// What preflight --publish needs, too, in the namespace of -n (default: the service account's)
    #[arg(long)]
    pub publish: bool,
}

/// Whom `policy rbac` binds.
#[derive(Debug, Clone, Default, Args)]
#[group(multiple = false)]
pub struct RbacSubject {
    /// Group to bind (default: capt-spot)
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// User to bind
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Service account to bind
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub service_account: Option<String>,
}

/// `completion`
#[derive(Debug, Clone, Args)]
#[command(
    long_about = "Print shell completion.\n\n\
    The script completes the binary under its own name, kubectl-capt_spot, and asks the program itself, so it knows the names of \
    contexts, checks and formats; that for elvish knows verbs, flags and formats. `kubectl capt-spot` is completed by kubectl's own \
    completion, in every shell that kubectl serves, as soon as the file kubectl_complete-capt_spot of the release's archive is on \
    PATH and executable; `helm capt-spot` by helm's, with nothing to do.",
    after_help = "Examples:\n  \
    source <(kubectl-capt_spot completion bash)\n  \
    kubectl-capt_spot completion fish | source\n\n\
    Exit codes: 0 done, 2 wrong usage."
)]
pub struct Completion {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// The flags that say which cluster is asked, and how.
const CONNECTION: &[&str] = &[
    "context",
    "kubeconfig",
    "cluster",
    "user",
    "as_user",
    "as_groups",
    "use_exec",
    "request_timeout",
    "overall_timeout",
];

/// The flags that name the EKS cluster and its account.
const EKS: &[&str] = &["cluster_name", "region"];

/// The flags that change nothing in what is printed for a Job.
const PRINTED: &[&str] = &[
    "as_user",
    "as_groups",
    "use_exec",
    "request_timeout",
    "overall_timeout",
    "profile",
    "color",
    "verbose",
    "quiet",
];

/// The flags of every verb that change nothing in some: they are taken there, and not shown.
const IDLE: &[(&[&str], &[&[&str]])] = &[
    (&["hook"], &[PRINTED]),
    (&["fleet", "list"], &[&["cluster_name"]]),
    (&["whois"], &[&["namespace"]]),
    (&["trust"], &[&["namespace"]]),
    (
        &["account"],
        &[&[
            "context",
            "kubeconfig",
            "cluster",
            "user",
            "as_user",
            "as_groups",
            "use_exec",
            "namespace",
            "cluster_name",
        ]],
    ),
    (
        &["explain"],
        &[CONNECTION, EKS, &["namespace", "profile", "verbose", "quiet"]],
    ),
    (
        &["policy"],
        &[CONNECTION, &["profile", "color", "verbose", "quiet"]],
    ),
    (&["policy", "read"], &[&["namespace"]]),
    (&["policy", "create"], &[&["namespace"]]),
    (&["policy", "rbac"], &[EKS]),
    (
        &["completion"],
        &[
            CONNECTION,
            EKS,
            &["namespace", "profile", "output", "color", "verbose", "quiet"],
        ],
    ),
    (
        &["version"],
        &[
            EKS,
            &[
                "context",
                "kubeconfig",
                "cluster",
                "user",
                "as_user",
                "as_groups",
                "use_exec",
                "overall_timeout",
                "namespace",
                "profile",
                "color",
                "verbose",
                "quiet",
            ],
        ],
    ),
    (&["fleet", "manifest"], &[PRINTED]),
    (
        &["fleet", "merge"],
        &[CONNECTION, EKS, &["namespace", "profile", "verbose"]],
    ),
    (
        &["template", "patch"],
        &[
            CONNECTION,
            EKS,
            &["namespace", "profile", "output", "verbose", "quiet"],
        ],
    ),
];

/// Which formats the verbs print that have no report for dashboards.
const FORMATS: &[(&str, &str)] = &[
    ("hook", "text, json or yaml"),
    ("version", "text, json or yaml"),
    ("fleet list", "text, json or yaml"),
    ("fleet manifest", "text (ready to apply), json or yaml"),
    ("explain", "text, json or yaml"),
    ("policy", "text (ready to apply), json or yaml"),
];

/// The definition of the command line as it is shown: examples by the prefix that the program was called by, and no flag
/// at a verb that it says nothing to.
pub fn command(called_as: &str) -> clap::Command {
    use clap::CommandFactory as _;
    let mut root = Cli::command();
    let flags: Vec<clap::Arg> = root
        .get_arguments()
        .filter(|arg| arg.is_global_set())
        .cloned()
        .collect();
    let hide = |command: clap::Command, idle: &[&str]| {
        // What a verb defines itself is not handed down to it from above.
        let own: Vec<String> = command
            .get_arguments()
            .map(|arg| arg.get_id().to_string())
            .collect();
        let hidden = flags.iter().filter(|flag| {
            let id = flag.get_id().as_str();
            idle.contains(&id) && !own.iter().any(|own| own == id)
        });
        command.args(hidden.map(|flag| flag.clone().hide(true)))
    };
    for (path, idle) in IDLE {
        let idle = idle.concat();
        root = match path {
            [verb] => root.mut_subcommand(verb, |command| hide(command, &idle)),
            [verb, below] => root.mut_subcommand(verb, |command| {
                command.mut_subcommand(below, |below| hide(below, &idle))
            }),
            _ => root,
        };
    }
    if let Some(output) = flags.iter().find(|flag| flag.get_id() == "output") {
        for (verb, formats) in FORMATS {
            let output = output
                .clone()
                .help(format!("Output format: {formats}"))
                .hide_possible_values(true);
            root = match verb.split_once(' ') {
                None => root.mut_subcommand(verb, |command| command.arg(output)),
                Some((verb, below)) => root.mut_subcommand(verb, |command| {
                    command.mut_subcommand(below, |below| below.arg(output))
                }),
            };
        }
    }
    prefixed(root, called_as).bin_name(called_as.to_owned())
}

/// Examples and hints by the prefix that the program was called by.
fn prefixed(command: clap::Command, called_as: &str) -> clap::Command {
    let say = |text: &clap::builder::StyledStr| text.to_string().replace(crate::terminal::KUBECTL, called_as);
    let short = command.get_after_help().map(say);
    let long = command.get_after_long_help().map(say);
    let command = match short {
        Some(text) => command.after_help(text),
        None => command,
    };
    let command = match long {
        Some(text) => command.after_long_help(text),
        None => command,
    };
    command.mut_subcommands(|verb| prefixed(verb, called_as))
}

/// A duration as kubectl takes it: `5s`, `1m30s`, `500ms`, or seconds; 0 is "no bound" (kept as an hour).
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const FOREVER: Duration = Duration::from_secs(3600);
    let parsed = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let signed: jiff::SignedDuration = text
                .parse()
                .map_err(|_| format!("\"{text}\" is not a duration; write 10s, 1m or a number of seconds"))?;
            Duration::try_from(signed).map_err(|_| format!("\"{text}\" is negative"))?
        }
    };
    Ok(if parsed.is_zero() {
        FOREVER
    } else {
        parsed.min(FOREVER * 24)
    })
}

/// More clusters at a time would need more connections than a process may open.
fn parallel(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(n @ 1..=256) => Ok(n),
        _ => Err("from 1 to 256".to_owned()),
    }
}

fn redact(text: &str) -> Result<Redact, String> {
    match text {
        "ids" => Ok(Redact::Ids),
        "names" => Ok(Redact::Names),
        other => Err(format!("\"{other}\" is not ids or names")),
    }
}

fn partition(text: &str) -> Result<String, String> {
    match text.parse::<iam_policy::arn::Partition>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!(
            "\"{text}\" is not a partition of AWS: aws, aws-cn, aws-us-gov"
        )),
    }
}

fn account_id(text: &str) -> Result<String, String> {
    if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
        Ok(text.to_owned())
    } else {
        Err(format!("\"{text}\" is not an AWS account id: twelve digits"))
    }
}

/// A role by its name, with its path or without, or by its ARN (which the checks look at).
pub(crate) fn role(text: &str) -> Result<String, String> {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-/".contains(c);
    if text.starts_with("arn:") || (text.chars().all(of_a_name) && text.contains(|c| c != '/')) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "\"{}\" is not a role: a name (letters, digits and _+=,.@-) or an ARN",
            text.escape_debug()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_flag_is_shown_only_where_it_does_something() {
        let shown = |path: &[&str]| {
            let mut command = command("kubectl capt-spot");
            command.build();
            let found = path
                .iter()
                .try_fold(&command, |command, name| command.find_subcommand(name));
            found
                .expect("the verb")
                .get_arguments()
                .filter(|arg| !arg.is_hide_set() && arg.get_help_heading().is_some())
                .filter_map(|arg| arg.get_long().map(str::to_owned))
                .collect::<std::collections::BTreeSet<_>>()
        };
        let same = |path: &[&str], names: &[&str]| {
            let want = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(shown(path), want, "{path:?}");
        };
        same(&["completion"], &[]);
        same(&["explain"], &["output", "color"]);
        same(&["policy", "read"], &["cluster-name", "region", "output"]);
        same(&["policy", "rbac"], &["namespace", "output"]);
        same(&["template", "patch"], &["color"]);
        assert!(shown(&["preflight"]).len() > 10);
        for (path, idle) in IDLE {
            for id in idle.concat() {
                assert!(
                    Cli::command().get_arguments().any(|arg| arg.get_id() == id),
                    "{path:?}: no flag {id}"
                );
            }
        }
        use clap::{CommandFactory as _, FromArgMatches as _};
        // Taken all the same, before the verb and behind it, and handed up.
        for line in [
            &["x", "--context", "a", "explain"][..],
            &["x", "explain", "--context", "a"],
        ] {
            let cli = Cli::from_arg_matches(&command("x").get_matches_from(line)).expect("a line");
            assert_eq!(cli.global.context.as_deref(), Some("a"), "{line:?}");
        }
    }

    #[test]
    fn verbosity_as_kubectl_takes_it() {
        for (line, want) in [
            (&["x", "explain"][..], Some(0)),
            (&["x", "explain", "-v"], Some(1)),
            (&["x", "explain", "-v=6"], Some(6)),
            (&["x", "explain", "--v=0"], Some(0)),
            (&["x", "explain", "--verbose"], Some(1)),
            (&["x", "-v", "explain", "spot-quota"], Some(1)),
            (&["x", "explain", "-v=much"], None),
        ] {
            use clap::FromArgMatches as _;
            let verbose = command("x")
                .try_get_matches_from(line)
                .ok()
                .and_then(|matches| Cli::from_arg_matches(&matches).ok())
                .map(|cli| cli.global.verbose);
            assert_eq!(verbose, want, "{line:?}");
        }
    }

    #[test]
    fn help_goes_by_the_name_it_was_called_by() {
        for verb in ["preflight", "trust", "whois", "policy"] {
            let line = ["x", verb, "--help"];
            let error = command("helm capt-spot")
                .try_get_matches_from(line)
                .expect_err("help");
            let text = error.to_string();
            assert!(text.contains("helm capt-spot "), "{text}");
            assert!(!text.contains("kubectl capt-spot "), "{text}");
        }
    }

    /// An example that is broken over lines cannot be pasted: 80 columns hold every one.
    #[test]
    fn examples_fit_a_narrow_terminal() {
        fn look(command: &clap::Command) {
            let texts = [command.get_after_help(), command.get_after_long_help()];
            for line in texts
                .iter()
                .flatten()
                .flat_map(|text| text.to_string().lines().map(str::to_owned).collect::<Vec<_>>())
            {
                let example = line.starts_with("  kubectl") || line.starts_with("  helm");
                assert!(!example || line.len() <= 80, "{line}");
            }
            command.get_subcommands().for_each(look);
        }
        look(&command("kubectl capt-spot"));
    }

    /// The words of every command of this program in the pages, from the prefix on.
    fn commands_of_the_pages() -> Vec<(String, Vec<String>)> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let folders = [
            root.to_owned(),
            root.join("docs"),
            root.join("docs/checks"),
            root.join("examples"),
        ];
        let files = folders
            .iter()
            .flat_map(|folder| std::fs::read_dir(folder).expect("a folder").flatten());
        let pages = files
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|ext| ext == "md"));
        let mut found = Vec::new();
        for page in pages {
            let text = std::fs::read_to_string(&page)
                .expect("a page")
                .replace("\\\n", " ");
            // What stands between backquotes in a sentence, which may go over lines; and each line of a block.
            let mut parts: Vec<String> = Vec::new();
            for (n, part) in text.split("```").enumerate() {
                match n % 2 {
                    0 => parts.extend(
                        part.split('`')
                            .skip(1)
                            .step_by(2)
                            .map(|span| span.replace('\n', " ")),
                    ),
                    _ => parts.extend(part.lines().map(str::to_owned)),
                }
            }
            for part in parts {
                for prefix in ["kubectl capt-spot ", "helm capt-spot "] {
                    let Some((before, command)) = part.split_once(prefix) else {
                        continue;
                    };
                    // The name of a step, or a comment.
                    if before.contains("name:") || before.contains('#') {
                        continue;
                    }
                    let command = command
                        .split(['|', ';', '>', '#', ')', '&'])
                        .next()
                        .unwrap_or_default();
                    let words = shlex::split(command).unwrap_or_default();
                    found.push((format!("{}: {part}", page.display()), words));
                }
            }
        }
        found
    }

    #[test]
    fn no_page_shows_a_flag_or_a_verb_that_does_not_exist() {
        use clap::error::ErrorKind;
        let commands = commands_of_the_pages();
        assert!(commands.len() > 80, "{} commands", commands.len());
        for (place, words) in commands {
            // Helm's words: those are its parser's to understand.
            if words
                .first()
                .is_some_and(|verb| verb == "install" || verb == "upgrade")
            {
                continue;
            }
            let line = ["x".to_owned()].into_iter().chain(words);
            let Err(error) = command("kubectl capt-spot").try_get_matches_from(line) else {
                continue;
            };
            // A command may be named without what it needs, and a value may be a name for one: ACCOUNT.
            let good = match error.kind() {
                ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict => {
                    false
                }
                ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
                    let value = error
                        .get(clap::error::ContextKind::InvalidValue)
                        .map(ToString::to_string);
                    let name = |part: &str| part.len() > 3 && part.bytes().all(|b| b.is_ascii_uppercase());
                    value.is_some_and(|value| value.split([':', '/']).any(name))
                }
                _ => true,
            };
            assert!(good, "{place}\n{error}");
        }
    }

    #[test]
    fn durations_as_kubectl_takes_them() {
        for (text, want) in [
            ("5s", Some(Duration::from_secs(5))),
            ("1m30s", Some(Duration::from_secs(90))),
            ("500ms", Some(Duration::from_millis(500))),
            ("7", Some(Duration::from_secs(7))),
            ("0", Some(Duration::from_secs(3600))),
            ("-1s", None),
            ("soon", None),
        ] {
            assert_eq!(duration(text).ok(), want, "{text}");
        }
    }
}
