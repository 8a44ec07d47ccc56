//! Check and patch together, on whole files.
use super::check::check_files;
use std::collections::BTreeMap;

use super::beside::NOTHING;
use super::patch::{PatchError, PatchOptions, Patched, patch};
use super::report::{Severity, TemplateReport};
use super::role::Mode;
use super::source::Input;
use crate::text::Output;
use crate::text::style::Style;

impl TemplateReport {
    fn shown(&self, format: Output) -> String {
        let document = self.document(jiff::Timestamp::UNIX_EPOCH);
        crate::report::render(&[self.page()], &document, format, Style::PLAIN)
    }

    fn plain(&self) -> String {
        self.shown(Output::Text)
    }

    fn exit_code(&self) -> u8 {
        self.verdict.exit_code()
    }
}

fn input(name: &str, text: &str) -> Input {
    Input::read(name, text.as_bytes().to_vec()).expect("readable")
}

fn check(name: &str, text: &str) -> TemplateReport {
    check_files(&[input(name, text)], &BTreeMap::new()).expect("HCL")
}

fn word(severity: Severity) -> String {
    format!("{severity:?}").to_lowercase()
}

/// `severity id line` of each finding.
fn found(name: &str, text: &str) -> Vec<String> {
    let report = check(name, text);
    report
        .findings
        .iter()
        .map(|f| format!("{} {} {}", word(f.severity), f.id, f.file_line().expect("a line")))
        .collect()
}

fn options(mode: Mode) -> PatchOptions {
    PatchOptions {
        mode: Some(mode),
        ..PatchOptions::default()
    }
}

fn patched(name: &str, text: &str, mode: Mode) -> Result<Patched, PatchError> {
    patch(&input(name, text), options(mode), &NOTHING)
}

const TEMPLATE: &str = include_str!("../../examples/workspace-template.yaml");

/// CAPTEP-0023's pattern, as its template has it.
const CAPTEP: &str = r#"data "aws_iam_role" "spot" {
  name  = "AWSServiceRoleForEC2Spot"
  count = 0
}

# The role that Spot needs.
resource "aws_iam_service_linked_role" "spot" {
  aws_service_name = "spot.amazonaws.com"

  lifecycle {
    ignore_changes = [aws_service_name]
  }
}

resource "kubectl_manifest" "ec2_node_class" {
  yaml_body = "apiVersion: karpenter.k8s.aws/v1\nkind: EC2NodeClass\n"
}

resource "kubectl_manifest" "node_pool" {
  yaml_body = <<-YAML
    apiVersion: karpenter.sh/v1
    kind: NodePool
    metadata:
      name: default
  YAML

  depends_on = [kubectl_manifest.ec2_node_class, aws_iam_service_linked_role.spot]
}

output "role" {
  value = aws_iam_service_linked_role.spot.arn
}
"#;

const POOL: &str = r#"resource "kubectl_manifest" "node_pool" {
  yaml_body = <<-YAML
    apiVersion: karpenter.sh/v1
    kind: NodePool
    metadata:
      name: default
  YAML
}
"#;

fn with_pool(rest: &str) -> String {
    format!("{POOL}\n{rest}")
}

/// Runs `terraform fmt` on a text; none where terraform is not installed.
fn fmt(text: &str) -> Option<String> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child = Command::new("terraform")
        .args(["fmt", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(text.as_bytes()).ok()?;
    let out = child.wait_with_output().ok()?;
    assert!(
        out.status.success(),
        "{}\n{text}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).ok()
}

#[test]
fn the_report_of_the_example() {
    let report = check("examples/workspace-template.yaml", TEMPLATE);
    insta::assert_snapshot!("example_text", report.plain());
    insta::assert_snapshot!("example_json", report.shown(Output::Json));
    insta::assert_snapshot!("example_sarif", report.shown(Output::Sarif));
    assert_eq!(report.exit_code(), 1);
    let line = report.findings[0].yaml_line.expect("a line");
    let hcl = report.findings[0].hcl_line.expect("a line");
    assert_eq!(
        TEMPLATE.lines().nth(line - 1).map(str::trim),
        Some("resource \"kubectl_manifest\" \"node_pool\" {")
    );
    let module = &input("x.yaml", TEMPLATE).objects.modules[0].text;
    assert_eq!(
        module.lines().nth(hcl - 1),
        Some("resource \"kubectl_manifest\" \"node_pool\" {")
    );
}

#[test]
fn the_report_of_capteps_pattern() {
    insta::assert_snapshot!("captep_text", check("main.tf", CAPTEP).plain());
}

#[test]
fn examples_are_what_patch_writes() {
    for (mode, after) in [
        (
            Mode::Require,
            include_str!("../../examples/workspace-template.require.yaml"),
        ),
        (
            Mode::Create,
            include_str!("../../examples/workspace-template.create.yaml"),
        ),
        (
            Mode::AccountTemplate,
            include_str!("../../examples/workspace-template.account-template.yaml"),
        ),
    ] {
        let now = patched("x.yaml", TEMPLATE, mode).expect("patched").text;
        if std::env::var_os("INSTA_UPDATE").is_some_and(|v| v == "always") {
            let name = format!(
                "examples/workspace-template.{}.yaml",
                clap::ValueEnum::to_possible_value(&mode)
                    .expect("named")
                    .get_name()
            );
            std::fs::write(name, &now).expect("written");
        } else {
            assert_eq!(now, after, "{mode:?}");
        }
        assert_eq!(check("x.yaml", &now).exit_code(), 0, "{mode:?}");
    }
    let now = check("examples/workspace-template.yaml", TEMPLATE).plain();
    if std::env::var_os("INSTA_UPDATE").is_some_and(|v| v == "always") {
        std::fs::write("examples/workspace-template.report.txt", now).expect("written");
    } else {
        assert_eq!(include_str!("../../examples/workspace-template.report.txt"), now);
    }
}

#[test]
fn findings_by_pattern() {
    const ROLE: &str =
        "resource \"aws_iam_service_linked_role\" \"spot\" {\n  aws_service_name = \"spot.amazonaws.com\"\n";
    const KEEP: &str = "  lifecycle {\n    prevent_destroy = true\n  }\n";
    let owner = |inner: &str| format!("{ROLE}{inner}{KEEP}}}\n");
    let waiting = |on: &str| POOL.replacen("  YAML\n}", &format!("  YAML\n\n  depends_on = [{on}]\n}}"), 1);
    let reader = "data \"aws_iam_role\" \"r\" {\n  name = \"AWSServiceRoleForEC2Spot\"\n}\n";
    let table: Vec<(&str, String, &[&str])> = vec![
        ("nothing", POOL.into(), &["error role-neither-made-nor-required 1"]),
        ("on-demand only", POOL.replace(
            "      name: default\n",
            "      name: default\n    spec: {template: {spec: {requirements: [{key: karpenter.sh/capacity-type, operator: In, values: [on-demand]}]}}}\n",
        ), &[]),
        ("no pool, no role", "resource \"null_resource\" \"x\" {\n}\n".into(), &[]),
        ("required and waited for", waiting("data.aws_iam_role.r") + reader, &["note role-missing-says-nothing 11"]),
        ("required, not waited for", with_pool(reader), &["warning role-not-waited-for 1", "note role-missing-says-nothing 10"]),
        ("made, not waited for", with_pool(&format!("{ROLE}}}\n")), &[
            "error role-not-waited-for 1", "error destroy-takes-the-role 10", "error role-creation-fails-where-it-exists 10",
        ]),
        ("made through a local and another block",
            waiting("null_resource.x") + &format!("{ROLE}}}\nlocals {{\n  a = aws_iam_service_linked_role.spot.arn\n}}\nresource \"null_resource\" \"x\" {{\n  triggers = {{ a = local.a }}\n}}\n"),
            &["error destroy-takes-the-role 11", "error role-creation-fails-where-it-exists 11"]),
        ("guard off by default, nothing else",
            waiting("aws_iam_service_linked_role.spot") + &owner("  count = var.c ? 1 : 0\n") + "variable \"c\" {\n  default = false\n}\n",
            &["warning role-made-only-on-request 1", "note role-owned-per-cluster 11"]),
        ("guard on by default",
            waiting("aws_iam_service_linked_role.spot") + &owner("  count = var.c ? 1 : 0\n") + "variable \"c\" {\n  default = true\n}\n",
            &["warning role-creation-fails-where-it-exists 11", "warning role-owned-per-cluster 11"]),
        ("flips",
            waiting("aws_iam_service_linked_role.spot")
                + &owner("  count = length(local.found) == 0 ? 1 : 0\n")
                + "locals {\n  found = data.aws_iam_roles.x.names\n}\ndata \"aws_iam_roles\" \"x\" {\n  name_regex = \"AWSServiceRoleForEC2Spot\"\n}\n",
            &["error role-count-flips 11", "warning role-owned-per-cluster 11"]),
        ("flips through a data source of one role",
            waiting("aws_iam_service_linked_role.spot") + &owner("  count = try(data.aws_iam_role.r.arn, \"\") == \"\" ? 1 : 0\n") + reader,
            &["error role-count-flips 11", "warning role-owned-per-cluster 11", "note role-missing-says-nothing 18"]),
        ("another service's role", with_pool("resource \"aws_iam_service_linked_role\" \"es\" {\n  aws_service_name = \"es.amazonaws.com\"\n}\n"),
            &["error role-neither-made-nor-required 1"]),
        ("for_each over services",
            waiting("aws_iam_service_linked_role.all")
                + "resource \"aws_iam_service_linked_role\" \"all\" {\n  for_each         = toset([\"es.amazonaws.com\", \"spot.amazonaws.com\"])\n  aws_service_name = each.value\n}\n",
            &["error destroy-takes-the-role 11", "error role-creation-fails-where-it-exists 11"]),
        ("a command that is content with what is there",
            waiting("null_resource.slr")
                + "resource \"null_resource\" \"slr\" {\n  provisioner \"local-exec\" {\n    command = \"aws iam create-service-linked-role --aws-service-name spot.amazonaws.com || true\"\n  }\n}\n",
            &["note role-creation-failure-hidden 11"]),
        ("a command that may fail without notice",
            waiting("terraform_data.slr")
                + "resource \"terraform_data\" \"slr\" {\n  provisioner \"local-exec\" {\n    command    = \"aws iam create-service-linked-role --aws-service-name spot.amazonaws.com\"\n    on_failure = continue\n  }\n}\n",
            &["note role-creation-failure-hidden 11"]),
        ("a command that looks first",
            waiting("terraform_data.slr")
                + "resource \"terraform_data\" \"slr\" {\n  provisioner \"local-exec\" {\n    command = \"aws iam get-role --role-name AWSServiceRoleForEC2Spot || aws iam create-service-linked-role --aws-service-name spot.amazonaws.com\"\n  }\n}\n",
            &[]),
        ("a program that goes on without the role",
            waiting("data.external.r")
                + "data \"external\" \"r\" {\n  program = [\"sh\", \"-c\", \"aws iam get-role --role-name AWSServiceRoleForEC2Spot || echo {}\"]\n}\n",
            &["error role-neither-made-nor-required 1"]),
        ("a program that fails without the role",
            waiting("data.external.r")
                + "data \"external\" \"r\" {\n  program = [\"sh\", \"-c\", \"aws iam get-role --role-name AWSServiceRoleForEC2Spot >&2 && echo {}\"]\n}\n",
            &[]),
        ("imported, so not created",
            waiting("aws_iam_service_linked_role.spot") + &owner("") + "import {\n  to = aws_iam_service_linked_role.spot\n  id = \"arn\"\n}\n",
            &["warning role-owned-per-cluster 11", "note role-missing-says-nothing 11"]),
        ("imported, and destroyed with the cluster",
            waiting("aws_iam_service_linked_role.spot") + ROLE + "}\nimport {\n  to = aws_iam_service_linked_role.spot\n  id = \"arn\"\n}\n",
            &["error destroy-takes-the-role 11", "note role-missing-says-nothing 11"]),
        ("another one imported",
            waiting("aws_iam_service_linked_role.spot") + &owner("") + "import {\n  to = aws_iam_service_linked_role.es\n  id = \"arn\"\n}\n",
            &["error role-creation-fails-where-it-exists 11", "warning role-owned-per-cluster 11"]),
        ("removed and kept",
            waiting("data.aws_iam_role.r") + reader
                + "removed {\n  from = aws_iam_service_linked_role.spot\n  lifecycle {\n    destroy = false\n  }\n}\n",
            &["note role-missing-says-nothing 11"]),
        ("removed and deleted",
            waiting("data.aws_iam_role.r") + reader
                + "removed {\n  from = aws_iam_service_linked_role.spot\n  lifecycle {\n    destroy = true\n  }\n}\n",
            &["note role-missing-says-nothing 11", "error destroy-takes-the-role 14"]),
        ("removed without a word",
            waiting("data.aws_iam_role.r") + reader + "removed {\n  from = aws_iam_service_linked_role.this\n}\n",
            &["note role-missing-says-nothing 11", "warning destroy-takes-the-role 14"]),
        ("a custom suffix",
            waiting("aws_iam_service_linked_role.spot") + &owner("  custom_suffix = \"demo\"\n"),
            &["error role-neither-made-nor-required 1", "error role-misnamed 11"]),
        ("an empty suffix",
            waiting("aws_iam_service_linked_role.spot") + &owner("  custom_suffix = \"\"\n"),
            &["error role-creation-fails-where-it-exists 11", "warning role-owned-per-cluster 11"]),
        ("a name with its path",
            waiting("data.aws_iam_role.r") + &reader.replace("\"AWS", "\"aws-service-role/spot.amazonaws.com/AWS"),
            &["error role-neither-made-nor-required 1", "error role-misnamed 11"]),
        ("an ARN for a name",
            waiting("data.aws_iam_role.r")
                + &reader.replace("\"AWS", "\"arn:aws:iam::111122223333:role/aws-service-role/spot.amazonaws.com/AWS"),
            &["error role-neither-made-nor-required 1", "error role-misnamed 11"]),
        ("waited for in the quoted form of old", waiting("\"data.aws_iam_role.r\"") + reader, &["note role-missing-says-nothing 11"]),
        ("waited for through a module as a whole",
            waiting("module.k") + reader + "module \"k\" {\n  source     = \"./k\"\n  depends_on = [data.aws_iam_role.r]\n}\n",
            &["note role-missing-says-nothing 11"]),
        ("in comments only",
            with_pool("# resource \"aws_iam_service_linked_role\" \"spot\" {}\n/* data \"aws_iam_role\" \"r\" { name = \"AWSServiceRoleForEC2Spot\" } */\n"),
            &["error role-neither-made-nor-required 1"]),
        ("a command that is not",
            waiting("terraform_data.slr")
                + "resource \"terraform_data\" \"slr\" {\n  provisioner \"local-exec\" {\n    command = \"aws iam create-service-linked-role --aws-service-name spot.amazonaws.com\"\n  }\n}\n",
            &["error role-creation-fails-where-it-exists 11"]),
        ("a precondition of the pool itself",
            POOL.replacen("  YAML\n}", "  YAML\n\n  lifecycle {\n    precondition {\n      condition     = length(data.aws_iam_roles.x.names) > 0\n      error_message = \"no role\"\n    }\n  }\n}", 1)
                + "data \"aws_iam_roles\" \"x\" {\n  path_prefix = \"/aws-service-role/spot.amazonaws.com/\"\n}\n",
            &[]),
        ("a postcondition of the search",
            waiting("data.aws_iam_roles.x")
                + "data \"aws_iam_roles\" \"x\" {\n  name_regex = \"^AWSServiceRoleForEC2Spot$\"\n  lifecycle {\n    postcondition {\n      condition     = length(self.names) == 1\n      error_message = \"no role\"\n    }\n  }\n}\n",
            &[]),
        ("a search that nobody minds", waiting("data.aws_iam_roles.x") + "data \"aws_iam_roles\" \"x\" {\n  name_regex = \"^AWSServiceRoleForEC2Spot$\"\n}\n",
            &["error role-neither-made-nor-required 1"]),
        ("a check block",
            with_pool("check \"role\" {\n  data \"aws_iam_role\" \"x\" {\n    name = \"AWSServiceRoleForEC2Spot\"\n  }\n  assert {\n    condition     = data.aws_iam_role.x.arn != \"\"\n    error_message = \"no role\"\n  }\n}\n"),
            &["error role-neither-made-nor-required 1", "note check-block-only-warns 10"]),
        ("an ordinary role of that name",
            with_pool("resource \"aws_iam_role\" \"spot\" {\n  name = \"AWSServiceRoleForEC2Spot\"\n  path = \"/aws-service-role/spot.amazonaws.com/\"\n}\n"),
            &["error role-neither-made-nor-required 1", "error role-not-service-linked 10"]),
    ];
    for (name, text, expected) in table {
        assert_eq!(found("main.tf", &text), expected, "{name}\n{text}");
    }
}

#[test]
fn what_a_pool_says_of_its_capacity_type() {
    const KEY: &str = "karpenter.sh/capacity-type";
    let one = |rest: &str| format!("[{{key: {KEY}, {rest}}}]");
    for (requirements, spot) in [
        ("[]".to_owned(), true),
        (
            "[{key: kubernetes.io/arch, operator: In, values: [amd64]}]".to_owned(),
            true,
        ),
        (one("operator: In, values: [on-demand]"), false),
        (one("operator: In, values: [on-demand, reserved]"), false),
        (one("operator: In, values: [spot]"), true),
        (one("operator: In, values: [on-demand, spot]"), true),
        (one("operator: In, values: []"), false),
        (one("operator: NotIn, values: [spot]"), false),
        (one("operator: NotIn, values: [on-demand]"), true),
        (one("operator: Exists"), true),
        (one("operator: DoesNotExist"), false),
        (
            format!("[{{key: {KEY}, operator: Exists}}, {{key: {KEY}, operator: NotIn, values: [spot]}}]"),
            false,
        ),
        ("${jsonencode([])}".to_owned(), true),
        (
            format!("${{jsonencode([{{ key = \"{KEY}\", operator = \"In\", values = [\"on-demand\"] }}])}}"),
            false,
        ),
    ] {
        let text = POOL.replace(
            "      name: default\n",
            &format!(
                "      name: default\n    spec: {{template: {{spec: {{requirements: {requirements}}}}}}}\n"
            ),
        );
        let want: &[&str] = if spot {
            &["error role-neither-made-nor-required 1"]
        } else {
            &[]
        };
        assert_eq!(found("main.tf", &text), want, "{requirements}");
        // The line ends of Windows and tabs change nothing, and a patched module keeps them.
        let windows = text.replace('\n', "\r\n");
        assert_eq!(found("main.tf", &windows), want, "{requirements}");
        let patched = patched("main.tf", &windows, Mode::Require).expect("patched").text;
        assert_eq!(patched.matches('\n').count(), patched.matches("\r\n").count());
        assert_eq!(patched == windows, !spot);
    }
}

#[test]
fn findings_stand_in_the_order_of_the_file() {
    let text = format!(
        "{}---\n{}",
        TEMPLATE,
        "apiVersion: tf.upbound.io/v1beta1\nkind: Workspace\nmetadata:\n  name: a\nspec:\n  forProvider:\n    source: Inline\n    \
         module: |\n      resource \"kubectl_manifest\" \"np\" {\n        yaml_body = \"apiVersion: karpenter.sh/v1\\nkind: NodePool\\n\"\n      }\n"
    );
    let report = check("two.yaml", &text);
    let lines: Vec<_> = report.findings.iter().map(|f| f.yaml_line).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.is_sorted(), "{lines:?}");
}

#[test]
fn verdicts_without_findings() {
    let unread = "resource \"kubectl_manifest\" \"x\" {\n  yaml_body = templatefile(\"x.yaml\", {})\n}\n";
    assert_eq!(check("main.tf", unread).exit_code(), 3);
    let waits = unread.replace("{})\n", "{})\n  depends_on = [data.aws_iam_role.r]\n")
        + "data \"aws_iam_role\" \"r\" {\n  name = \"AWSServiceRoleForEC2Spot\"\n}\n";
    assert_eq!(check("main.tf", &waits).exit_code(), 0);
    let remote = "apiVersion: tf.upbound.io/v1beta1\nkind: Workspace\nmetadata:\n  name: w\nspec:\n  forProvider:\n    source: Remote\n    module: git::https://example.com/m.git\n";
    let report = check("w.yaml", remote);
    assert_eq!((report.exit_code(), report.summary.skipped), (3, 1));
    assert!(
        report
            .plain()
            .contains("its source is Remote (git::https://example.com/m.git)"),
        "{}",
        report.plain()
    );
    assert_eq!(
        check("x.yaml", "apiVersion: v1\nkind: ConfigMap\n").exit_code(),
        3
    );
    assert_eq!(check("x.yaml", "").exit_code(), 3);
    assert_eq!(check("x.tf", "").exit_code(), 0);
}

#[test]
fn control_characters_stay_in_the_file() {
    let hostile = "a\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\u{200b}\u{2028}\u{e0041}b";
    let text = POOL
        .replace("name: default", &format!("name: \"{hostile}\""))
        .replace("<<-YAML", "<<-YAML\n# \u{1b}[2J");
    let yaml = POOL.replace(
        "name: default",
        "name: \"a\\e[2J\\u202e\\u200B\\u2028\\U000E0041b\"",
    );
    for text in [text, yaml] {
        let report = check("main\u{1b}.tf", &text);
        for out in [
            report.plain(),
            report.shown(Output::Json),
            report.shown(Output::Sarif),
            report.shown(Output::Yaml),
        ] {
            assert!(
                out.chars()
                    .all(|c| c == '\n' || crate::text::sanitize::harmless(c)),
                "{out:?}"
            );
        }
        assert!(serde_json::from_str::<serde_json::Value>(&report.shown(Output::Json)).is_ok());
    }
}

#[test]
fn several_modules_lists_and_documents() {
    let module = |name: &str, ind: &str| {
        let text: String = POOL.lines().map(|l| format!("{ind}        {l}\n")).collect();
        format!(
            "apiVersion: tf.upbound.io/v1beta1\n{ind}kind: Workspace\n{ind}metadata:\n{ind}  name: {name}\n{ind}spec:\n{ind}  forProvider:\n{ind}    source: Inline\n{ind}    module: |\n{text}"
        )
    };
    let text = format!(
        "# first\n{}---\napiVersion: v1\nkind: List\nitems:\n  - {}  - {}",
        module("a", ""),
        module("b", "    "),
        module("c", "    ")
    );
    let report = check("w.yaml", &text);
    assert_eq!(report.findings.len(), 3, "{text}");
    for f in &report.findings {
        let line = text.lines().nth(f.yaml_line.expect("line") - 1).expect("there");
        assert!(line.trim().starts_with("resource \"kubectl_manifest\""), "{line}");
    }
    let done = patched("w.yaml", &text, Mode::Require).expect("patched").text;
    assert_eq!(check("w.yaml", &done).exit_code(), 0);
    assert_eq!(done.matches("data \"aws_iam_role\" \"spot\"").count(), 3);
}

#[test]
fn errors_name_file_line_and_column() {
    let fail = |name: &str, bytes: &[u8]| match Input::read(name, bytes.to_vec()) {
        Err(e) => e.to_string(),
        Ok(input) => check_files(&[input], &BTreeMap::new()).expect_err("unreadable")[0].to_string(),
    };
    let yaml = "apiVersion: tf.upbound.io/v1beta1\nkind: Workspace\nmetadata: {name: w}\nspec:\n  forProvider:\n    source: Inline\n    module: |\n      resource \"a\" \"b\" {\n        x = = 1\n      }\n";
    insta::assert_snapshot!(
        [
            fail("w.yaml", yaml.as_bytes()),
            fail("w.yaml", b"a: [1\nb: }"),
            fail("m.tf", b"resource \"a\" \"b\" {\n"),
            fail("m.tf", b"x = 1\ny = \xff\n"),
            fail("m.tf.json", b"{}"),
            fail("m.tf", format!("x = {}1{}\n", "[".repeat(500), "]".repeat(500)).as_bytes()),
        ]
        .join("\n"),
        @r#"
    w.yaml:9:13: not Terraform in the module of Workspace w, its line 2: invalid expression; expected `"`, `[`, `{`, `-`, `!`, `(`, `_`, `<`, letter or digit. Correct that line, then run this again
    w.yaml:2:2: not YAML: illegal placement of ':' indicator. Correct that line, then run this again
    m.tf:1:20: not Terraform: invalid block body; expected `}`, newline or identifier. Correct that line, then run this again
    m.tf:2:5: not UTF-8 text. Save the file as UTF-8
    m.tf.json:1:1: Terraform's JSON syntax is not read. Check the module's .tf files (HCL)
    m.tf:1:70: not Terraform: invalid nesting depth; expected at most 64 nested levels. Correct that line, then run this again
    "#
    );
}

#[test]
fn forms_of_scalars() {
    let block = |header: &str, indent: usize| {
        let lines: String = POOL
            .lines()
            .map(|l| {
                if l.is_empty() {
                    "\n".into()
                } else {
                    format!("{}{l}\n", " ".repeat(indent))
                }
            })
            .collect();
        format!(
            "kind: Workspace\napiVersion: tf.upbound.io/v1beta1\nspec:\n  forProvider:\n    source: Inline\n    module: {header}\n{lines}\n    # after\n    entrypoint: x\n"
        )
    };
    let quoted = |q: String| {
        format!(
            "kind: Workspace\napiVersion: tf.upbound.io/v1beta1\nspec:\n  forProvider:\n    source: Inline\n    module: {q} # said\n    entrypoint: x\n"
        )
    };
    let json = serde_json::to_string(POOL).expect("json");
    let single = format!("'{}'", POOL.replace('\n', "\n\n       ").trim_end());
    for text in [
        block("|", 6),
        block("|-", 9),
        block("|+", 6),
        block("|2", 6),
        block("|4-  # why", 8),
        block("|", 6).replace('\n', "\r\n"),
        quoted(json.clone()),
        quoted(single),
        block(">", 6).replace("\n      ", "\n\n      ").replace("> ", ">"),
        format!(
            "{{\"kind\": \"Workspace\", \"apiVersion\": \"tf.upbound.io/v1beta1\", \"spec\": {{\"forProvider\": {{\"source\": \"Inline\", \"module\": {json}}}}}}}\n"
        ),
    ] {
        let once = patched("w.yaml", &text, Mode::Require).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert!(once.changed, "{text}");
        assert_eq!(check("w.yaml", &once.text).exit_code(), 0, "{}", once.text);
        let twice = patched("w.yaml", &once.text, Mode::Require).expect("again");
        assert_eq!(once.text, twice.text);
        if text.contains("entrypoint") {
            let eol = if text.contains('\r') { "\r\n" } else { "\n" };
            assert!(
                once.text.ends_with(&format!("entrypoint: x{eol}")),
                "{}",
                once.text
            );
        }
    }
    let anchored = block("&m |", 6);
    let why = patched("w.yaml", &anchored, Mode::Require)
        .expect_err("refused")
        .to_string();
    assert!(why.contains("anchor"), "{why}");
    assert_eq!(check("w.yaml", &anchored).findings[0].yaml_line, Some(7));
}

#[test]
fn refusals_name_what_is_in_the_way() {
    let why = |text: String, mode| patched("main.tf", &text, mode).expect_err("refused").to_string();
    let owner = "resource \"aws_iam_service_linked_role\" \"spot\" {\n  aws_service_name = \"spot.amazonaws.com\"\n}\n";
    let all = [
        why(
            with_pool(&format!(
                "{owner}import {{\n  to = aws_iam_service_linked_role.spot\n  id = \"x\"\n}}\n"
            )),
            Mode::Require,
        ),
        why(
            with_pool(&format!(
                "{owner}output \"x\" {{\n  value = aws_iam_service_linked_role.spot.tags_all\n}}\n"
            )),
            Mode::Require,
        ),
        why(
            with_pool("resource \"aws_iam_role\" \"x\" {\n  name = \"AWSServiceRoleForEC2Spot\"\n}\n"),
            Mode::Require,
        ),
        why(
            with_pool(
                "resource \"aws_iam_service_linked_role\" \"all\" {\n  for_each         = toset([\"spot.amazonaws.com\"])\n  aws_service_name = each.key\n}\n",
            ),
            Mode::Require,
        ),
        why(
            with_pool(&format!("{owner}{}", owner.replace("\"spot\"", "\"b\""))),
            Mode::Create,
        ),
        why(POOL.into(), Mode::AccountTemplate),
        why(
            with_pool(
                "data \"aws_iam_role\" \"x\" {\n  name = \"aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot\"\n}\n",
            ),
            Mode::Require,
        ),
        why(
            with_pool("removed {\n  from = aws_iam_service_linked_role.spot\n}\n"),
            Mode::Require,
        ),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    the `import` block on line 13 names aws_iam_service_linked_role.spot: apply once, so that the state has the role, remove the block, then patch again
    `aws_iam_service_linked_role.spot.tags_all` uses tags_all, which only the resource has: change that, then patch again
    aws_iam_role.x (line 10) is an ordinary role named AWSServiceRoleForEC2Spot: remove it and every reference to it, then patch again
    aws_iam_service_linked_role.all (line 10) creates roles with for_each: remove spot.amazonaws.com from its list (line 11); where a state has it, first run: terraform state rm 'aws_iam_service_linked_role.all["spot.amazonaws.com"]'; then patch again
    aws_iam_service_linked_role.spot, aws_iam_service_linked_role.b all create the role: leave one of them, then patch again
    main.tf cannot hold the account's WorkspaceTemplate: name a file for it with --account-file
    data.aws_iam_role.x (line 10) asks for the role by its path and name, and IAM finds roles by their name alone: the plan fails in every account; correct or remove it, then patch again
    the `removed` block on line 10 deletes aws_iam_service_linked_role.spot: set destroy = false in its lifecycle, then patch again
    "#);
}

/// Shapes of modules that patch has to cope with, all as `terraform fmt` writes them.
fn shapes() -> Vec<String> {
    let owner = "resource \"aws_iam_service_linked_role\" \"spot\" {\n  aws_service_name = \"spot.amazonaws.com\"\n}\n";
    vec![
        POOL.to_owned(),
        CAPTEP.to_owned(),
        input("x.yaml", TEMPLATE).objects.modules[0].text.clone(),
        with_pool(owner),
        with_pool(&owner.replace("\n  aws_service_name = \"spot.amazonaws.com\"\n", " aws_service_name = \"spot.amazonaws.com\" ")),
        with_pool(&owner.replace("}\n", "\n  lifecycle { ignore_changes = [aws_service_name] }\n}\n")),
        with_pool(&format!("{owner}\noutput \"a\" {{\n  value = [aws_iam_service_linked_role.spot.id, \"${{aws_iam_service_linked_role.spot.name}}\"]\n}}\n\nlocals {{\n  b = aws_iam_service_linked_role.spot.arn\n}}\n")),
        with_pool(&format!("{}\noutput \"a\" {{\n  value = aws_iam_service_linked_role.spot[0].arn\n}}\n", owner.replace("  aws", "  count = 1\n\n  aws"))),
        // A reader without words, with a comment, in another order; and depends_on over several lines.
        with_pool("# ours\ndata \"aws_iam_role\" \"mine\" {\n  # by name\n  name = \"AWSServiceRoleForEC2Spot\"\n}\n").replacen(
            "  YAML\n}", "  YAML\n\n  depends_on = [\n    null_resource.a, # first\n    null_resource.b  # second\n  ]\n}", 1),
        with_pool("data \"aws_iam_role\" \"spot\" {\n  count = 0\n  name  = \"AWSServiceRoleForEC2Spot\"\n}\n\noutput \"x\" {\n  value = data.aws_iam_role.spot[0].arn\n}\n"),
        POOL.replacen("  YAML\n}", "  YAML\n\n  depends_on = [\n    null_resource.a,\n    null_resource.b,\n  ]\n}", 1),
        POOL.replacen("  YAML\n}", "  YAML\n\n  depends_on = []\n}", 1),
        "locals {\n  y = \"apiVersion: karpenter.sh/v1\\nkind: NodePool\\n\"\n}\n\nresource \"kubectl_manifest\" \"node_pool\" { yaml_body = local.y }\n".to_owned(),
        // A name that is taken.
        with_pool("data \"aws_iam_role\" \"spot\" {\n  name = \"something-else\"\n}\n\nvariable \"create_spot_service_linked_role\" {\n  default = true\n}\n"),
        with_pool("resource \"helm_release\" \"x\" {\n  chart  = \"x\"\n  values = [yamlencode({ extraObjects = [{ apiVersion = \"karpenter.sh/v1\", kind = \"NodePool\" }] })]\n\n  set {\n    name  = \"a\"\n    value = \"b\"\n  }\n}\n"),
        // Owned on request already, by someone else's variable.
        with_pool(&format!("{}\nvariable \"own\" {{\n  type    = bool\n  default = false\n}}\n", owner.replace("  aws", "  count = var.own ? 1 : 0\n\n  aws"))),
        with_pool("module \"pools\" {\n  source    = \"./pools\"\n  manifests = [{ apiVersion = \"karpenter.sh/v1\", kind = \"NodePool\" }]\n}\n"),
    ]
}

#[test]
fn patched_modules_are_clean_stable_and_formatted() {
    for text in shapes() {
        let formatted = fmt(&text);
        if let Some(formatted) = &formatted {
            assert_eq!(formatted, &text, "the test's own text");
        }
        for mode in [Mode::Require, Mode::Create] {
            let once = patched("main.tf", &text, mode).unwrap_or_else(|e| panic!("{mode:?}: {e}\n{text}"));
            let after = found("main.tf", &once.text);
            assert!(
                after.iter().all(|f| f.starts_with("note role-owned-per-cluster")),
                "{mode:?} {after:?}\n{}",
                once.text
            );
            let twice = patched("main.tf", &once.text, mode).expect("again");
            assert_eq!(twice.text, once.text, "{mode:?} twice");
            assert!(!twice.changed);
            if let Some(formatted) = fmt(&once.text) {
                assert_eq!(formatted, once.text, "{mode:?} is not what terraform fmt writes");
            }
            if mode == Mode::Require {
                assert!(
                    !once.text.contains("resource \"aws_iam_service_linked_role\""),
                    "{}",
                    once.text
                );
                // From one mode to the other.
                let there = patched("main.tf", &once.text, Mode::Create)
                    .unwrap_or_else(|e| panic!("to create: {e}\n{}", once.text));
                let back = patched("main.tf", &there.text, Mode::Require)
                    .unwrap_or_else(|e| panic!("back: {e}\n{}", there.text));
                assert!(
                    !back.text.contains("resource \"aws_iam_service_linked_role\""),
                    "{}",
                    back.text
                );
                assert!(found("main.tf", &back.text).is_empty(), "{}", back.text);
            }
        }
        let removed = patch(
            &input("main.tf", &text),
            PatchOptions {
                removed_block: true,
                ..options(Mode::Require)
            },
            &NOTHING,
        )
        .expect("patched");
        if let Some(formatted) = fmt(&removed.text) {
            assert_eq!(formatted, removed.text, "with removed blocks");
        }
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// The lines that an edit may change or take out.
    fn may_go(line: &str) -> bool {
        let line = line.trim();
        [
            "depends_on",
            "count",
            "aws_iam_service_linked_role",
            "aws_service_name",
            "lifecycle",
            "ignore_changes",
            "name ",
            "name=",
            "value",
            "null_resource.",
            "resource \"kubectl_manifest\" \"node_pool\" {",
            "b =",
            "b  =",
            "data \"aws_iam_role\"",
            "}",
            "",
        ]
        .iter()
        .any(|w| {
            if w.is_empty() {
                line.is_empty()
            } else {
                line.contains(w)
            }
        })
    }

    fn noise() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("# comment with \"quotes\" and ${no} interpolation\n".to_owned()),
            Just("/* block\n   comment */\n".to_owned()),
            Just("locals { odd=1 }\n".to_owned()),
            Just("\n\n   \n".to_owned()),
            Just("output \"o\"   {\n\tvalue   =    \"tab\\t\"   \n}\n".to_owned()),
            Just(
                "locals {\n  script = <<EOT\n#!/bin/sh\n  echo \"${path.module}\"   \n\n\tdone\nEOT\n}\n"
                    .to_owned()
            ),
            Just("resource \"x\" \"é\" {\n  name = \"ünï ${\"nested ${1}\"}\"\n}\n".to_owned()),
            "[a-z]{1,8}".prop_map(|n| format!("variable \"{n}\" {{\n}}\n")),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_else_changes(
            shape in 0..shapes().len(),
            before in prop::collection::vec(noise(), 0..4),
            after in prop::collection::vec(noise(), 0..4),
            mode in prop_oneof![Just(Mode::Require), Just(Mode::Create)],
            indent in 1usize..9,
            header in prop_oneof![Just("|"), Just("|-"), Just("|+"), Just("bare")],
            crlf in any::<bool>(),
        ) {
            let module = format!("{}{}\n{}", before.concat(), shapes()[shape], after.concat());
            let (name, head, text) = if header == "bare" {
                ("main.tf", String::new(), module)
            } else {
                let lines: String = module
                    .lines()
                    .map(|l| if l.is_empty() { "\n".to_owned() } else { format!("{}{l}\n", " ".repeat(indent + 6)) })
                    .collect();
                let head = format!("# head  \nkind: Workspace\napiVersion: tf.upbound.io/v1beta1\nspec:\n  forProvider:\n    source:   Inline\n      # odd\n    module: {header}\n");
                let tail = "    vars: [ {key: a,   value: b} ]  # tail\n---\nother:   [1,2]\n";
                ("w.yaml", head.clone(), format!("{head}{lines}{tail}"))
            };
            // An explicit indentation would be needed for a first line of blanks.
            prop_assume!(header == "bare" || !text[head.len()..].starts_with(['\n']) && !text[head.len()..].lines().next().is_some_and(|l| l.trim().is_empty()));
            let text = if crlf { text.replace('\n', "\r\n") } else { text };
            let once = match patched(name, &text, mode) {
                Ok(once) => once,
                // Duplicate names of the noise are the noise's fault, not patch's.
                Err(e) => return Err(TestCaseError::fail(format!("{e}\n{text}"))),
            };
            let report = check(name, &once.text);
            prop_assert!(report.findings.iter().all(|f| f.severity == Severity::Note), "{}", report.plain());
            let twice = patched(name, &once.text, mode).expect("again");
            prop_assert_eq!(&twice.text, &once.text);
            // Every line that is not part of an edit is there, byte for byte and in order.
            let new: Vec<&str> = once.text.split_inclusive('\n').collect();
            let mut at = 0;
            for line in text.split_inclusive('\n') {
                match new[at..].iter().position(|n| *n == line) {
                    Some(found) if !may_go(line) => at += found + 1,
                    Some(_) => {}
                    None => prop_assert!(may_go(line) || !line.ends_with('\n'), "{line:?} is gone from\n{}", once.text),
                }
            }
            if crlf {
                prop_assert_eq!(once.text.matches('\n').count(), once.text.matches("\r\n").count());
            } else {
                prop_assert!(!once.text.contains('\r'));
            }
        }

        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), yaml in any::<bool>()) {
            let name = if yaml { "x.yaml" } else { "x.tf" };
            if let Ok(input) = Input::read(name, bytes) {
                let _ = check_files(std::slice::from_ref(&input), &BTreeMap::new());
                let _ = patch(&input, options(Mode::Require), &NOTHING);
                let _ = patch(&input, PatchOptions::default(), &NOTHING);
            }
        }

        #[test]
        fn no_mutilated_template_panics(cut in 0..CAPTEP.len(), drop in 1usize..40, insert in "[{}\"$%<>~\\[\\]().,=\n a-z]{0,6}") {
            let mut text = CAPTEP.to_owned();
            let end = (cut + drop).min(text.len());
            if text.is_char_boundary(cut) && text.is_char_boundary(end) {
                text.replace_range(cut..end, &insert);
            }
            for mode in [Mode::Require, Mode::Create] {
                if let Ok(once) = patched("main.tf", &text, mode) {
                    let twice = patched("main.tf", &once.text, mode).expect("what patch wrote can be patched");
                    prop_assert_eq!(twice.text, once.text);
                }
            }
        }
    }
}

#[test]
fn templates_of_a_cluster() {
    let template = |name: &str, module: &str| {
        serde_json::json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1", "kind": "WorkspaceTemplate",
            "metadata": { "name": name, "namespace": "clusters" },
            "spec": { "template": { "spec": { "forProvider": { "source": "Inline", "module": module } } } },
        })
    };
    let plane = |name: &str, of: &str| {
        serde_json::json!({
            "apiVersion": "controlplane.cluster.x-k8s.io/v1beta1", "kind": "CAPTControlPlane",
            "metadata": { "name": name, "namespace": "clusters" },
            "spec": { "version": "1.34", "workspaceTemplateRef": { "name": of } },
        })
    };
    let there = |templates: Vec<serde_json::Value>, control_planes: Vec<serde_json::Value>| {
        super::check::Management {
            templates,
            control_planes,
            scope: crate::model::CommandScope {
                context: Some("kind-capt".to_owned()),
                ..Default::default()
            },
            ..super::check::Management::default()
        }
    };
    let report = super::check::check_objects(&there(
        vec![
            template("eks", POOL),
            template("broken", "resource {{"),
            template("fine", ""),
        ],
        vec![plane("one", "eks"), plane("two", "eks"), plane("three", "fine")],
    ));
    insta::assert_snapshot!("cluster_text", report.plain());
    assert_eq!(report.exit_code(), 1);
    assert_eq!(super::check::check_objects(&there(vec![], vec![])).exit_code(), 3);
    // A template that was not read is not one that is right.
    let fine = there(
        vec![template("fine", "")],
        vec![plane("one", "fine"), plane("four", "gone")],
    );
    let report = super::check::check_objects(&fine);
    assert_eq!(report.exit_code(), 3);
    insta::assert_snapshot!(report.undecided.join("\n"), @"the CAPTControlPlane clusters/four is made from the WorkspaceTemplate clusters/gone, which is not there");
    let elsewhere = super::check::Management {
        namespace: Some("other".to_owned()),
        ..fine
    };
    let report = super::check::check_objects(&elsewhere);
    insta::assert_snapshot!(report.undecided.join("\n"), @"the CAPTControlPlane clusters/four is made from the WorkspaceTemplate clusters/gone, which is outside the namespace that was read");
}

// --- what brings NodePools from outside a module ---

/// Sets up Karpenter and leaves its NodePools to somebody else.
const KARPENTER: &str = r#"module "eks" {
  source = "terraform-aws-modules/eks/aws"
}

module "karpenter" {
  source       = "terraform-aws-modules/eks/aws//modules/karpenter"
  cluster_name = module.eks.cluster_name
}

module "karpenter_elsewhere" {
  source = "terraform-aws-modules/eks/aws//modules/karpenter"
  create = false
}
"#;

const POOL_FILE: &str = "apiVersion: karpenter.k8s.aws/v1\nkind: EC2NodeClass\nmetadata:\n  name: default\n---\n\
    apiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata:\n  name: default\nspec:\n  template:\n    spec:\n      requirements:\n        \
    - key: kubernetes.io/arch\n          operator: In\n          values: [arm64]\n";

/// Karpenter and its NodePools as two HelmChartProxies.
const PROXIES: &str = "apiVersion: addons.cluster.x-k8s.io/v1alpha1\nkind: HelmChartProxy\nmetadata:\n  name: karpenter\nspec:\n  \
    repoURL: oci://public.ecr.aws/karpenter\n  chartName: karpenter\n  valuesTemplate: |\n    \
    {{- $out := .ControlPlane.status.outputs -}}\n    settings:\n      clusterName: {{ $out.cluster_name }}\n---\n\
    apiVersion: addons.cluster.x-k8s.io/v1alpha1\nkind: HelmChartProxy\nmetadata:\n  name: pools\n  namespace: default\nspec:\n  \
    chartName: karpenter-aws-default-nodepool\n  valuesTemplate: |\n    {{- $out := .ControlPlane.status.outputs -}}\n    \
    clusterName: {{ $out.cluster_name }}\n    limits:\n      cpu: 1000\n";

fn workspace(name: &str, module: &str) -> String {
    let lines: String = module
        .lines()
        .map(|l| format!("          {l}").trim_end().to_owned() + "\n")
        .collect();
    format!(
        "apiVersion: infrastructure.cluster.x-k8s.io/v1beta1\nkind: WorkspaceTemplate\nmetadata:\n  name: {name}\nspec:\n  template:\n    \
         spec:\n      forProvider:\n        source: Inline\n        module: |\n{lines}"
    )
}

/// A folder's report: exit code, undecided or findings.
fn folder(files: &[(&str, &str)], beside: &[(&str, &str)]) -> String {
    let inputs: Vec<Input> = files
        .iter()
        .map(|(name, text)| Input {
            named: false,
            ..input(name, text)
        })
        .collect();
    let beside = beside
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let beside = BTreeMap::from([("d".into(), super::beside::Beside::new(beside.collect()))]);
    let report = check_files(&inputs, &beside).expect("HCL");
    let pools = report.modules.iter().flat_map(|m| &m.node_pools).map(|pool| {
        let name = pool.name.as_deref().unwrap_or("?");
        format!(
            "pool {name} of {}: {:?}, waits for {:?}\n",
            pool.block, pool.spot, pool.waits_for
        )
    });
    let findings = report.findings.iter().map(|f| {
        let line = f.file_line().unwrap_or_default();
        format!(
            "{} {} {}:{line} {:?}\n",
            word(f.severity),
            f.id,
            f.file.as_deref().unwrap_or_default(),
            f.fix.commands
        )
    });
    let undecided = report.undecided.iter().map(|why| format!("undecided: {why}\n"));
    let all: String = pools.chain(findings).chain(undecided).collect();
    format!("exit {}\n{all}", report.exit_code())
}

#[test]
fn a_module_whose_pools_are_not_read_is_undecided() {
    insta::assert_snapshot!(folder(&[("d/main.tf", KARPENTER)], &[]), @r#"
    exit 3
    undecided: d/main.tf sets up Karpenter (module.karpenter, line 5), and its NodePools are not in what was read: check the files or the chart with the NodePools together with it, or let the module require the role (`kubectl capt-spot template patch --in-place d/main.tf`)
    "#);
    insta::assert_snapshot!(folder(&[("d/proxy.yaml", PROXIES.split("---").next().expect("one"))], &[]), @r#"
    exit 3
    undecided: HelmChartProxy karpenter (d/proxy.yaml:1) installs Karpenter, and its NodePools are not in what was read: check the files or the chart with the NodePools together with it
    "#);
    // It requires the role: whatever the pools are, the cluster has it before them.
    let required = patch(&input("d/main.tf", KARPENTER), PatchOptions::default(), &NOTHING).expect("patched");
    insta::assert_snapshot!(folder(&[("d/main.tf", &required.text)], &[]), @"exit 0");
    insta::assert_snapshot!(folder(&[("d/main.tf", &required.text), ("d/pool.yaml", POOL_FILE)], &[]), @r#"
    exit 0
    pool default of NodePool default: Yes, waits for ["data.aws_iam_role.spot"]
    "#);
    // Nor is it undecided where the pools are in the module, or where it only prepares nothing.
    insta::assert_snapshot!(folder(&[("d/main.tf", "module \"vpc\" {\n  source = \"x/vpc/aws\"\n}\n")], &[]), @"exit 0");
}

#[test]
fn pools_beside_a_module() {
    let template = workspace("eks", KARPENTER);
    let on_demand = POOL_FILE
        .replace("kubernetes.io/arch", "karpenter.sh/capacity-type")
        .replace("arm64", "on-demand");
    let placeholder = on_demand.replace("[on-demand]", "[\"${CAPACITY_TYPE}\"]");
    let owner = workspace(
        "role",
        "resource \"aws_iam_service_linked_role\" \"spot\" {\n  aws_service_name = \"spot.amazonaws.com\"\n  lifecycle {\n    prevent_destroy = true\n  }\n}\n",
    );
    for (name, files) in [
        (
            "a manifest",
            vec![("d/main.tf", KARPENTER), ("d/pool.yaml", POOL_FILE)],
        ),
        (
            "on-demand only",
            vec![("d/main.tf", KARPENTER), ("d/pool.yaml", &on_demand)],
        ),
        (
            "a placeholder decides",
            vec![("d/main.tf", KARPENTER), ("d/pool.yaml", &placeholder)],
        ),
        (
            "HelmChartProxies",
            vec![("d/eks.yaml", &template), ("d/helm.yaml", PROXIES)],
        ),
        (
            "the role in another module",
            vec![
                ("d/eks.yaml", &template),
                ("d/pool.yaml", POOL_FILE),
                ("d/role.yaml", &owner),
            ],
        ),
        ("no module", vec![("d/pool.yaml", POOL_FILE)]),
    ] {
        insta::assert_snapshot!(name.replace(' ', "_"), folder(&files, &[]));
    }
}

#[test]
fn files_and_charts_beside_a_module() {
    let module = |rest: &str| format!("{KARPENTER}\n{rest}");
    let template = "apiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata:\n  name: {{ .Values.name }}\nspec:\n  template:\n    spec:\n      \
        requirements: {{ toYaml .Values.requirements | nindent 8 }}\n";
    let values = "name: from-chart\nrequirements:\n  - {key: karpenter.sh/capacity-type, operator: In, values: [on-demand]}\n";
    let chart = [
        (
            "charts/pools/Chart.yaml",
            "name: karpenter-aws-default-nodepool\n",
        ),
        ("charts/pools/values.yaml", values),
        ("charts/pools/templates/pool.yaml", template),
        ("pool.yaml", POOL_FILE),
        (
            "pools/tpl.yaml",
            "apiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata:\n  name: ${name}\n",
        ),
    ];
    let manifest = |body: &str| module(&format!("resource \"kubectl_manifest\" \"x\" {{\n{body}\n}}\n"));
    let release = |values: &str| {
        module(&format!(
            "resource \"helm_release\" \"pools\" {{\n  chart  = \"${{path.module}}/charts/pools\"\n  values = [{values}]\n}}\n"
        ))
    };
    let read = manifest("  yaml_body = file(\"${path.module}/pool.yaml\")");
    let templated = manifest("  yaml_body = templatefile(\"pools/tpl.yaml\", { name = \"filled\" })");
    let set = manifest(
        "  for_each  = fileset(path.module, \"p*.yaml\")\n  yaml_body = file(\"${path.module}/${each.value}\")",
    );
    let outside = manifest("  yaml_body = file(\"../pool.yaml\")");
    let (by_default, by_value) = (release(""), release("yamlencode({ requirements = [] })"));
    for (name, files) in [
        // Read by the module, and so not applied a second time from outside.
        (
            "file",
            vec![("d/main.tf", read.as_str()), ("d/pool.yaml", POOL_FILE)],
        ),
        ("templatefile", vec![("d/main.tf", &templated)]),
        ("fileset", vec![("d/main.tf", &set)]),
        ("outside the folder", vec![("d/main.tf", &outside)]),
        ("a chart's own values", vec![("d/main.tf", &by_default)]),
        ("a release's values", vec![("d/main.tf", &by_value)]),
        (
            "a proxy's chart",
            vec![("d/main.tf", KARPENTER), ("d/helm.yaml", PROXIES)],
        ),
    ] {
        insta::assert_snapshot!(name.replace([' ', '\''], "_"), folder(&files, &chart));
    }
}

#[test]
fn placeholders_are_named() {
    let text = workspace(
        "${TEMPLATE:=eks}",
        "locals {\n  env = \"${ENVIRONMENT:=dev}\"\n  name = \"${CLUSTER_NAME}\"\n}\n",
    );
    insta::assert_snapshot!("placeholders_text", check("eks.yaml", &text).plain());
    // Outside a text, too, as in clusterctl's templates.
    let bare = workspace(
        "eks",
        "module \"v\" {\n  single = ${SINGLE:=true}\n  count  = ${COUNT:=1}\n}\n",
    );
    assert_eq!(check("eks.yaml", &bare).exit_code(), 0);
    let broken = workspace("eks", "locals {\n  n = ${COUNT:=1} }}\n}\n");
    let read = check_files(&[input("eks.yaml", &broken)], &BTreeMap::new()).expect_err("not Terraform");
    insta::assert_snapshot!(read[0].to_string(), @"eks.yaml:12:29: not Terraform in the module of WorkspaceTemplate eks, its line 2: expected newline or eof. ${COUNT:=1} is a placeholder; fill it in first: `clusterctl generate yaml --from eks.yaml`, or `envsubst`");
    // What is patched keeps its placeholders.
    let pool = workspace(
        "eks",
        &format!("{POOL}\nlocals {{\n  env = \"${{ENVIRONMENT:=dev}}\"\n}}\n"),
    );
    let patched = patched("eks.yaml", &pool, Mode::Require).expect("patched").text;
    assert!(patched.contains("env = \"${ENVIRONMENT:=dev}\""), "{patched}");
    assert!(!patched.contains(super::placeholder::MARK));
}

// --- what a module is for ---

const OWNER: &str = "resource \"aws_iam_service_linked_role\" \"spot\" {\n  aws_service_name = \"spot.amazonaws.com\"\n}\n\n\
    output \"role_arn\" {\n  value = aws_iam_service_linked_role.spot.arn\n}\n";

/// Notes, then the patched file.
fn by_purpose(name: &str, text: &str, options: PatchOptions) -> String {
    let once = patch(&input(name, text), options, &NOTHING).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let twice = patch(&input(name, &once.text), options, &NOTHING).expect("again");
    assert_eq!(twice.text, once.text, "twice");
    assert_eq!(
        check(name, &once.text).exit_code(),
        0,
        "{}",
        check(name, &once.text).plain()
    );
    format!("{}\n\n{}", once.notes.join("\n"), once.text)
}

#[test]
fn a_module_for_the_role_alone_goes_on_creating_it() {
    let auto = PatchOptions::default();
    let commands = |name: &str, text: &str| check(name, text).findings[0].fix.commands.join("\n");
    let alone = workspace("role", OWNER);
    assert_eq!(
        commands("role.yaml", &alone),
        "kubectl capt-spot template patch --in-place --mode create role.yaml"
    );
    insta::assert_snapshot!(
        "only_the_role",
        by_purpose("role.yaml", &alone, options(Mode::Create))
    );
    assert_eq!(
        by_purpose("role.yaml", &alone, auto),
        by_purpose("role.yaml", &alone, options(Mode::Create))
    );
    let vars = alone.replace(
        "        module: |",
        "        vars:\n          - key: a\n            value: b\n        module: |",
    );
    insta::assert_snapshot!("vars_are_there", by_purpose("role.yaml", &vars, auto));
    insta::assert_snapshot!("a_bare_file", by_purpose("role.tf", OWNER, auto));
    let flow = alone.replace(
        "        module: |",
        "        vars: [{key: a, value: b}]\n        module: |",
    );
    let why = patch(&input("role.yaml", &flow), auto, &NOTHING)
        .expect_err("refused")
        .to_string();
    insta::assert_snapshot!(why, @r#"WorkspaceTemplate role: the variable create_spot_service_linked_role cannot be passed to the module on line 10; add `{key: create_spot_service_linked_role, value: "true"}` to its forProvider.vars first"#);
}

#[test]
fn modules_of_one_file_each_keep_what_they_are_for() {
    let file = [
        workspace("vpc", "module \"vpc\" {\n  source = \"x/vpc/aws\"\n}\n"),
        workspace("eks", POOL),
        workspace("role", OWNER),
    ]
    .join("---\n");
    let auto = by_purpose("all.yaml", &file, PatchOptions::default());
    insta::assert_snapshot!("three_modules", auto);
    assert_eq!(by_purpose("all.yaml", &file, options(Mode::Create)), auto);
    let account = by_purpose("all.yaml", &file, options(Mode::AccountTemplate));
    insta::assert_snapshot!(account.lines().next().unwrap_or_default(), @"WorkspaceTemplate vpc: no NodePool and nothing about the role; left as it is");
    assert!(!account.contains("WorkspaceTemplateApply"));
}

#[test]
fn what_create_refuses_has_the_line_and_the_steps() {
    let why = |rest: &str| {
        patched("main.tf", &format!("{POOL}\n{OWNER}\n{rest}"), Mode::Create)
            .expect_err("refused")
            .to_string()
    };
    let each = OWNER.replace(
        "  aws_service_name = \"spot.amazonaws.com\"",
        "  for_each         = toset([\"spot.amazonaws.com\"])\n  aws_service_name = each.key",
    );
    let all = [
        why("import {\n  to = aws_iam_service_linked_role.spot\n  id = \"x\"\n}\n"),
        why(
            "moved {\n  from = aws_iam_service_linked_role.old\n  to   = aws_iam_service_linked_role.spot\n}\n",
        ),
        patched(
            "main.tf",
            &format!("{POOL}\n{}", each.split("\n\n").next().expect("one")),
            Mode::Create,
        )
        .expect_err("refused")
        .to_string(),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    the `import` block on line 18 names aws_iam_service_linked_role.spot: apply once, so that the state has the role, remove the block, then patch again
    the `moved` block on line 18 names aws_iam_service_linked_role.spot: apply once, so that the state has the role, remove the block, then patch again
    aws_iam_service_linked_role.spot (line 10) creates roles with for_each: remove spot.amazonaws.com from its list (line 11); where a state has it, first run: terraform state rm 'aws_iam_service_linked_role.spot["spot.amazonaws.com"]'; then patch again
    "#);
}
