use std::ffi::OsString;

use proptest::prelude::*;

use super::*;

/// What the real binaries' help lists; see the file's head.
const REAL: &str = include_str!("helm_flags.tsv");

struct Row {
    helm: &'static str,
    command: &'static str,
    long: &'static str,
    short: Option<char>,
    arity: Arity,
}

fn real() -> impl Iterator<Item = Row> {
    REAL.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut columns = line.split('\t');
        let mut next = || columns.next().expect("five columns");
        Row {
            helm: next(),
            command: next(),
            long: next(),
            short: Some(next()).filter(|s| *s != "-").and_then(|s| s.chars().next()),
            arity: if next() == "value" {
                Arity::Value
            } else {
                Arity::Alone
            },
        }
    })
}

fn verb(command: &str) -> Option<Verb> {
    match command {
        "install" => Some(Verb::Install),
        "upgrade" => Some(Verb::Upgrade),
        _ => None,
    }
}

fn words(line: &str) -> Vec<OsString> {
    line.split(' ')
        .filter(|word| !word.is_empty())
        .map(OsString::from)
        .collect()
}

fn split(verb: Verb, line: &str) -> Invocation {
    parse(&words(line), &FlagTable::new(verb)).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn install(line: &str) -> Invocation {
    split(Verb::Install, line)
}

fn upgrade(line: &str) -> Invocation {
    split(Verb::Upgrade, line)
}

fn joined(words: &[OsString]) -> String {
    words
        .iter()
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn template(invocation: &Invocation) -> String {
    joined(&invocation.template_args(&TemplateOptions::default()))
}

#[test]
fn the_table_agrees_with_every_flag_that_the_real_binaries_list() {
    let mut seen = 0;
    for row in real() {
        let Some(verb) = verb(row.command) else { continue };
        let table = FlagTable::new(verb);
        let flag = table
            .long(row.long)
            .unwrap_or_else(|| panic!("{} {} --{}", row.helm, row.command, row.long));
        assert_eq!(
            flag.arity, row.arity,
            "helm {} {} --{}",
            row.helm, row.command, row.long
        );
        if let Some(short) = row.short {
            assert_eq!(
                table.short(short).map(|(long, _)| long),
                Some(row.long),
                "-{short}"
            );
        }
        seen += 1;
    }
    assert!(seen > 300, "{seen} flags only");
}

#[test]
fn what_is_kept_for_template_is_known_to_template_of_the_same_helm() {
    for row in real() {
        let Some(verb) = verb(row.command) else { continue };
        let flag = FlagTable::new(verb).long(row.long).expect("in the table");
        let same = real().any(|other| {
            other.helm == row.helm
                && other.command == "template"
                && other.long == row.long
                && other.arity == row.arity
        });
        assert!(
            same || !flag.renders,
            "helm {} template has no --{}",
            row.helm,
            row.long
        );
    }
    for extra in [
        "skip-tests",
        "include-crds",
        "is-upgrade",
        "kube-version",
        "api-versions",
        "dry-run",
        "values",
    ] {
        for helm in ["3.17.3", "3.19.0", "4.2.3"] {
            assert!(
                real().any(|row| row.helm == helm && row.command == "template" && row.long == extra),
                "helm {helm} template has no --{extra}"
            );
        }
    }
}

#[test]
fn no_flag_of_ours_is_one_of_helms() {
    for flag in OUR_FLAGS {
        assert!(
            real().all(|row| row.long != flag.name),
            "--{} is helm's",
            flag.name
        );
        assert!(
            FlagTable::new(Verb::Install).long(flag.name).is_none(),
            "--{}",
            flag.name
        );
    }
}

#[test]
fn our_flags_are_taken_out_wherever_they_stand() {
    let split = install(
        "--yes karpenter --node-role=KarpenterNodeRole-demo oci://r/karpenter --version 1.6.0 --only spot-role,target \
         --skip spot-quota --only=karpenter --set a=b --force-install --no-input --strict=true --profile dev \
         --region eu-west-1 --cluster-name demo --nodepools pools.yaml --request-timeout 5s --report out.json --wait",
    );
    assert_eq!(
        joined(&split.helm),
        "karpenter oci://r/karpenter --version 1.6.0 --set a=b --wait"
    );
    assert_eq!(
        split.ours,
        OurFlags {
            force_install: true,
            yes: true,
            no_input: true,
            strict: true,
            node_role: Some("KarpenterNodeRole-demo".into()),
            only: vec!["spot-role".into(), "target".into(), "karpenter".into()],
            skip: vec!["spot-quota".into()],
            profile: Some("dev".into()),
            region: Some("eu-west-1".into()),
            cluster_name: Some("demo".into()),
            context: None,
            nodepools: Some("pools.yaml".into()),
            request_timeout: Some("5s".into()),
            report: Some("out.json".into()),
        }
    );
    assert_eq!(split.view.release.as_deref(), Some("karpenter"));
    assert_eq!(split.view.chart, Some("oci://r/karpenter".into()));
}

#[test]
fn a_value_of_helms_is_never_taken_for_a_flag_of_ours() {
    // pflag gives `--set` the next word whatever it looks like.
    let split = install("--set --yes r c --description --force-install -f --strict -n --no-input");
    assert_eq!(split.ours, OurFlags::default());
    assert_eq!(
        joined(&split.helm),
        "--set --yes r c --description --force-install -f --strict -n --no-input"
    );
    assert_eq!(split.view.namespace.as_deref(), Some("--no-input"));
}

#[test]
fn everything_after_two_dashes_is_helms() {
    let split = install("r --yes -- c --strict --dry-run");
    assert_eq!(joined(&split.helm), "r -- c --strict --dry-run");
    assert!(split.ours.yes);
    assert!(!split.ours.strict);
    assert!(!split.view.dry_run);
    assert_eq!(split.view.chart, Some("c".into()));
    assert_eq!(
        template(&split),
        "template --skip-tests --include-crds r -- c --strict --dry-run"
    );
}

#[test]
fn an_unknown_flags_next_word_is_passed_on_and_not_interpreted() {
    let split = install("r c --brand-new --yes --strict");
    assert_eq!(joined(&split.helm), "r c --brand-new --yes");
    assert!(!split.ours.yes);
    assert!(split.ours.strict);
    assert_eq!(split.view.unknown_flags, ["--brand-new"]);
    assert_eq!(split.view.release, None, "a release could be the flag's value");

    let split = install("r c --brand-new=x --yes");
    assert_eq!(joined(&split.helm), "r c --brand-new=x");
    assert!(split.ours.yes);

    let split = install("r c -Z --yes");
    assert_eq!(joined(&split.helm), "r c -Z --yes");
    assert_eq!(split.view.unknown_flags, ["-Z"]);

    // In doubt nothing is written.
    assert!(install("r c --brand-new --dry-run").view.dry_run);
    assert!(install("r c --brand-new --dry-run=client").view.dry_run);
    assert!(!install("r c --brand-new --dry-run=none").view.dry_run);
    // And helm's words after `--` stay helm's.
    assert!(!install("r c --brand-new -- --yes").ours.yes);
}

#[test]
fn an_unknown_flag_is_learned_from_helms_own_help() {
    let help = "Usage:\n  helm install [NAME] [CHART] [flags]\n\nFlags:\n  \
                -Z, --brand-new                     a switch\n      \
                --later string                   a value (default \"--x\")\n      \
                --maybe string[=\"unset\"]         an optional value\n      \
                --wait                           must not replace what is known\n\nGlobal Flags:\n      \
                --global int   a number\n";
    let template_help = "Flags:\n      --later string   the same\n      --brand-new string   another kind\n";
    let table = FlagTable::new(Verb::Install).learn(help, template_help);
    let words = words("r --brand-new c --later --yes --maybe --yes --global 3 -Z -Zf v.yaml");
    let split = parse(&words, &table).expect("valid");
    assert_eq!(
        joined(&split.helm),
        "r --brand-new c --later --yes --maybe --global 3 -Z -Zf v.yaml"
    );
    assert!(split.ours.yes);
    assert!(split.view.unknown_flags.is_empty());
    assert_eq!(split.view.chart, Some("c".into()));
    assert!(split.view.gives_values);
    // Only what `template` knows in the same form is passed to it.
    assert_eq!(
        template(&split),
        "template --skip-tests --include-crds r c --later --yes -f=v.yaml"
    );
}

#[test]
fn the_real_help_layout_is_read() {
    for helm in ["3.17.3", "3.19.0", "4.2.3"] {
        let text: String = real()
            .filter(|row| row.helm == helm && row.command == "upgrade")
            .map(|row| {
                let short = row
                    .short
                    .map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
                let kind = if row.arity == Arity::Value { " string" } else { "" };
                format!("  {short}--{}{kind}     what it does --not-this one\n", row.long)
            })
            .collect();
        let lines: Vec<_> = super::super::flags::help_flags(&text);
        let want: Vec<_> = real()
            .filter(|row| row.helm == helm && row.command == "upgrade")
            .map(|row| (row.long.to_owned(), row.short, row.arity))
            .collect();
        assert_eq!(lines, want);
    }
}

#[test]
fn every_form_of_dry_run() {
    for (line, dry) in [
        ("--dry-run", true),
        ("--dry-run=client", true),
        ("--dry-run=server", true),
        ("--dry-run=unset", true),
        ("--dry-run=true", true),
        ("--dry-run=nonsense", true),
        ("--dry-run=none", false),
        ("--dry-run=false", false),
        ("--dry-run=client --dry-run=none", true),
        ("", false),
    ] {
        assert_eq!(install(&format!("r c {line}")).view.dry_run, dry, "{line}");
    }
    // The word after it is not its value.
    let split = install("--dry-run client chart");
    assert_eq!(split.view.release.as_deref(), Some("client"));
}

#[test]
fn shorthands_as_pflag_reads_them() {
    for (line, namespace, values) in [
        ("r c -n ns", Some("ns"), false),
        ("r c -nns", Some("ns"), false),
        ("r c -n=ns", Some("ns"), false),
        ("r c -n=", Some("="), false),
        ("r c -if v.yaml", None, true),
        ("r c -ifv.yaml", None, true),
        ("r c -in ns", Some("ns"), false),
        ("r c -i=false -nns", Some("ns"), false),
    ] {
        let split = upgrade(line);
        assert_eq!(split.view.namespace.as_deref(), namespace, "{line}");
        assert_eq!(split.view.gives_values, values, "{line}");
        assert_eq!(split.view.release.as_deref(), Some("r"), "{line}");
        assert_eq!(joined(&split.helm), line);
    }
    assert!(upgrade("r c -if v.yaml").view.install_if_missing);
    assert!(!upgrade("r c -i=false").view.install_if_missing);
    assert!(!upgrade("r c --install=false").view.install_if_missing);
    assert!(install("-g c").view.generated_name);
    assert_eq!(install("-g c").view.chart, Some("c".into()));
    assert_eq!(install("-gf v.yaml c").view.chart, Some("c".into()));
    assert_eq!(install("--name-template x c").view.chart, Some("c".into()));
}

#[test]
fn what_template_gets() {
    let words = |line: &str| {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let split = parse(&words, &FlagTable::new(Verb::Install)).expect("valid");
        let args = split.template_args(&TemplateOptions::default());
        let args: Vec<_> = args
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        args.join(" ")
    };
    let generated = "template --skip-tests capt-spot-placeholder --include-crds";
    for (line, rest) in [
        ("-g c", "c"),
        ("--generate-name c -f v.yaml", "c -f v.yaml"),
        ("-gf v.yaml c", "-f=v.yaml c"),
    ] {
        assert_eq!(words(line), format!("{generated} {rest}"), "{line}");
    }
    for (verb, line, want) in [
        (
            Verb::Install,
            "r c --wait --timeout 5m --atomic --create-namespace -n ns -f a.yaml --set x=y",
            "--include-crds r c -n ns -f a.yaml --set x=y",
        ),
        (
            Verb::Install,
            "r c --wait=watcher --rollback-on-failure --server-side --force-conflicts --version 1.2.3 --devel",
            "--include-crds r c --version 1.2.3 --devel",
        ),
        (
            Verb::Upgrade,
            "-i r c --server-side auto -o json --history-max 3 --cleanup-on-fail --hide-secret --dry-run=client",
            "--include-crds r c",
        ),
        (Verb::Upgrade, "-if v.yaml r c", "--include-crds -f=v.yaml r c"),
        (
            Verb::Install,
            "-go json -nx c",
            "capt-spot-placeholder --include-crds -nx c",
        ),
        (Verb::Install, "r c --dry-run=server", "--include-crds r c"),
        (
            Verb::Install,
            "r c --skip-crds --no-hooks",
            "r c --skip-crds --no-hooks",
        ),
        (
            Verb::Install,
            "r c --set-file a=b --set-json c={} --set-literal d=e --set-string f=g --repo https://r --username u",
            "--include-crds r c --set-file a=b --set-json c={} --set-literal d=e --set-string f=g --repo https://r \
             --username u",
        ),
        (
            Verb::Install,
            "r c --post-renderer ./kustomize.sh --post-renderer-args -x",
            "--include-crds r c --post-renderer ./kustomize.sh --post-renderer-args -x",
        ),
        (
            Verb::Install,
            "r c --post-renderer /opt/kubectl-capt_spot --post-renderer-args gate",
            "--include-crds r c",
        ),
        (
            Verb::Install,
            "r c --post-renderer=capt-spot-gate",
            "--include-crds r c",
        ),
        (
            Verb::Install,
            "r c --kube-context k --kubeconfig f --kube-as-user u -v 6 --description x --labels a=b --color never",
            "--include-crds r c --kube-context k --kubeconfig f --kube-as-user u",
        ),
    ] {
        assert_eq!(
            template(&split(verb, line)),
            format!("template --skip-tests {want}"),
            "{line}"
        );
    }
    let split = upgrade("r c --set a=b");
    let options = TemplateOptions {
        is_upgrade: true,
        old_values: Some("/tmp/old values.yaml".into()),
        kube_version: Some("1.34".into()),
        api_versions: vec!["monitoring.coreos.com/v1".into()],
    };
    assert_eq!(
        joined(&split.template_args(&options)),
        "template --skip-tests --is-upgrade --kube-version=1.34 --api-versions=monitoring.coreos.com/v1 \
         --values /tmp/old values.yaml r c --set a=b"
    );
}

#[test]
fn which_cluster_is_handed_to_other_commands() {
    let split =
        upgrade("r c -in ns --kube-context k --wait --kube-as-group=a --kube-as-group b --set x=y --new z");
    assert_eq!(
        joined(&split.connection_args()),
        "-n=ns --kube-context k --kube-as-group=a --kube-as-group b"
    );
    assert_eq!(split.view.as_groups, ["a", "b"]);
    assert_eq!(split.view.kube_context.as_deref(), Some("k"));
    assert!(install("r c --kube-token secret").view.has_token);
    assert!(!format!("{:?}", install("r c --kube-token secret").view).contains("secret"));
}

#[test]
fn old_values_in_helms_order_of_precedence() {
    for (line, want) in [
        ("", OldValues::ReuseIfNoneGiven),
        ("--reset-values --reuse-values", OldValues::Reset),
        ("--reuse-values --reset-then-reuse-values", OldValues::Reuse),
        ("--reset-then-reuse-values", OldValues::ResetThenReuse),
        ("--reset-values=false --reuse-values", OldValues::Reuse),
    ] {
        assert_eq!(upgrade(&format!("r c {line}")).view.old_values, want, "{line}");
    }
}

#[test]
fn standard_input_as_values_is_seen() {
    for (line, stdin) in [
        ("-f -", true),
        ("-f-", true),
        ("--values=-", true),
        ("--values a.yaml,-", true),
        ("--set-file a=-", true),
        ("--set-file=a=x,b=-", true),
        ("-f a-b.yaml", false),
        ("--set a=-", false),
    ] {
        assert_eq!(install(&format!("r c {line}")).view.reads_stdin, stdin, "{line}");
    }
}

#[test]
fn wrong_use_of_our_flags_says_which() {
    let error = |line: &str| {
        parse(&words(line), &FlagTable::new(Verb::Install))
            .map(|_| ())
            .expect_err(line)
            .to_string()
    };
    assert_eq!(
        error("r c --node-role"),
        "--node-role needs a value: --node-role NAME|ARN"
    );
    assert_eq!(
        error("r c --node-role --yes"),
        "--node-role needs a value: --node-role NAME|ARN"
    );
    assert_eq!(error("r c --region="), "--region needs a value: --region REGION");
    assert_eq!(
        error("r c --yes=perhaps"),
        "--yes is a switch: it takes true, false, or nothing"
    );
    assert_eq!(
        error("r c --context a --kube-context b"),
        "--context a and --kube-context b name different contexts; give one of them"
    );
    assert_eq!(
        error("--yes"),
        "name the release and the chart: install RELEASE CHART [flags]"
    );
    assert!(install("--help").view.help);
    assert!(install("r c --context a --kube-context a").ours.context.is_some());
}

#[test]
fn words_with_spaces_and_without_content_stay_one_word() {
    let given: Vec<OsString> = [
        "my release",
        "./my chart",
        "",
        "-f",
        "a b.yaml",
        "--set",
        "x=a b",
        "--yes",
    ]
    .map(OsString::from)
    .to_vec();
    let split = parse(&given, &FlagTable::new(Verb::Install)).expect("valid");
    assert_eq!(split.helm, given[..7]);
    assert_eq!(split.view.chart, Some("./my chart".into()));
}

#[cfg(unix)]
#[test]
fn words_that_are_not_utf8_are_passed_on_as_they_are() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let given = vec![
        bytes(b"r"),
        bytes(b"./ch\xffart"),
        bytes(b"--values=v\xfe.yaml"),
        bytes(b"-if\xfd.yaml"),
        bytes(b"--report=r\xfc.json"),
    ];
    let split = parse(&given, &FlagTable::new(Verb::Upgrade)).expect("valid");
    assert_eq!(split.helm, given[..4]);
    assert_eq!(split.ours.report, Some(bytes(b"r\xfc.json").into()));
    let args = split.template_args(&TemplateOptions {
        is_upgrade: true,
        ..TemplateOptions::default()
    });
    assert_eq!(args[args.len() - 1], bytes(b"-f=\xfd.yaml"));
    let bad = vec![bytes(b"r"), bytes(b"c"), bytes(b"--region=\xff")];
    assert!(parse(&bad, &FlagTable::new(Verb::Install)).is_err());
}

/// A group of words and whether it is ours.
fn group() -> impl Strategy<Value = (Vec<String>, bool)> {
    let value = "[a-z0-9./=, -]{1,12}".prop_filter("no dash first", |text| !text.starts_with('-'));
    let all: Vec<Row> = real().filter(|row| row.command == "upgrade").collect();
    let flags: Vec<(String, Option<char>, Arity)> = all
        .iter()
        .map(|row| (row.long.to_owned(), row.short, row.arity))
        .collect();
    let helm = (proptest::sample::select(flags), value.clone(), 0..4_u8).prop_map(
        |((long, short, arity), value, form)| {
            let words = match (arity, form, short) {
                (Arity::Alone, 0, Some(short)) => vec![format!("-{short}")],
                (Arity::Alone, _, _) => vec![format!("--{long}")],
                (Arity::Value, 0, Some(short)) => vec![format!("-{short}"), value],
                (Arity::Value, 1, Some(short)) => vec![format!("-{short}{value}")],
                (Arity::Value, 2, _) => vec![format!("--{long}={value}")],
                (Arity::Value, _, _) => vec![format!("--{long}"), value],
            };
            (words, false)
        },
    );
    let ours = (proptest::sample::select(OUR_FLAGS), value.clone(), any::<bool>()).prop_map(
        |(flag, value, equals)| {
            let words = if flag.value.is_empty() {
                vec![format!("--{}", flag.name)]
            } else if equals {
                vec![format!("--{}={value}", flag.name)]
            } else {
                vec![format!("--{}", flag.name), value]
            };
            (words, true)
        },
    );
    // A future flag with its value attached; without it its next word is nobody's, which has its own test.
    let unknown = value
        .clone()
        .prop_map(|value| (vec![format!("--from-the-future={value}")], false));
    let plain = value.prop_map(|value| (vec![value], false));
    prop_oneof![4 => helm, 2 => ours, 1 => unknown, 2 => plain]
}

proptest! {
    #[test]
    fn exactly_our_flags_are_removed_and_order_is_kept(
        groups in proptest::collection::vec(group(), 0..12),
        after in proptest::option::of(proptest::collection::vec("[-a-z=]{0,8}", 0..4)),
    ) {
        let mut given: Vec<OsString> = vec!["release".into()];
        let mut want = given.clone();
        for (words, ours) in &groups {
            given.extend(words.iter().map(OsString::from));
            if !ours {
                want.extend(words.iter().map(OsString::from));
            }
        }
        if let Some(after) = after {
            for list in [&mut given, &mut want] {
                list.push("--".into());
                list.extend(after.iter().map(OsString::from));
            }
        }
        match parse(&given, &FlagTable::new(Verb::Upgrade)) {
            Ok(split) => prop_assert_eq!(split.helm, want),
            Err(error) => prop_assert!(matches!(error, UsageError::TwoContexts { .. }), "{}", error),
        }
    }

    #[test]
    fn any_line_is_split_without_losing_a_word(line in proptest::collection::vec(any::<String>(), 0..10)) {
        let given: Vec<OsString> = line.iter().map(OsString::from).collect();
        for verb in [Verb::Install, Verb::Upgrade] {
            if let Ok(split) = parse(&given, &FlagTable::new(verb)) {
                // What is left is a subsequence of what was given.
                let mut rest = given.iter();
                for word in &split.helm {
                    prop_assert!(rest.any(|other| other == word));
                }
                let _ = split.template_args(&TemplateOptions::default());
                let _ = split.connection_args();
            }
        }
    }

    #[test]
    fn any_help_text_is_read(text in any::<String>()) {
        let _ = FlagTable::new(Verb::Install).learn(&text, &text);
    }
}
