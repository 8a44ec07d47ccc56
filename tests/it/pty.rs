//! The question at a terminal: a pseudo-terminal, a screen, and keys.

use crate::support::program::Stage;
use crate::support::terminal::Terminal;

/// A run at a terminal of 80 columns.
fn run(stage: &Stage, args: &[&str], more_env: &[(&str, &str)]) -> Terminal {
    let mut command = stage.command(args);
    command.envs(more_env.iter().copied());
    Terminal::run(&command)
}

#[test]
fn yes_creates_and_judges_again() {
    let stage = Stage::fresh();
    let mut terminal = run(&stage, &["preflight"], &[]);
    terminal.wait_for("Create it now?");
    let shown = terminal.shown();
    assert!(
        shown.contains("account  111122223333") && shown.contains("cluster  demo (eu-west-1)"),
        "{shown}"
    );
    assert!(
        shown.contains("caller   arn:aws:iam::111122223333:user/platform-admin"),
        "{shown}"
    );
    assert!(
        shown.contains("NOT READY"),
        "the report comes before the question\n{shown}"
    );
    assert_eq!(stage.writes(), [""; 0], "nothing is written before the answer");
    terminal.press("y\r");
    let (code, shown, _) = terminal.end();
    assert!(
        shown.contains("the role was created: arn:aws:iam::111122223333:role/aws-service-role/"),
        "{shown}"
    );
    assert!(
        shown.contains("READY: Karpenter can get Spot capacity"),
        "{shown}"
    );
    assert_eq!(code, 0);
    assert_eq!(stage.writes(), ["iam:CreateServiceLinkedRole"]);
}

/// Everything that is not a whole line `y` or `yes`, typed after the question was shown.
const NOT_CONSENT: &[&str] = &[
    "\r",
    "n\r",
    "no\r",
    "no way\r",
    "not yet\r",
    "maybe\r",
    "why?\r",
    "yy\r",
    "yes please\r",
    "y!\r",
    "\u{1b}\r",
    "\u{1b}y\r",
    "\u{4}",
    "y\u{4}\u{4}",
    "\u{1b}[A\r",
    "ja\r",
    "\u{443}\r",
];

#[test]
fn only_a_whole_line_y_or_yes_is_consent() {
    let asked = |keys: &str| {
        let stage = Stage::fresh();
        let mut terminal = run(&stage, &["create-role"], &[]);
        terminal.wait_for("Create it now?");
        terminal.press(keys);
        let (code, shown, _) = terminal.end();
        (code, stage.writes(), shown)
    };
    for keys in NOT_CONSENT {
        let (code, writes, shown) = asked(keys);
        assert_eq!((code, writes.len()), (1, 0), "{keys:?}: {shown}");
        assert!(shown.contains("Nothing was created"), "{keys:?}: {shown}");
    }
    for keys in ["y\r", "Y\r", "yes\r", "YES\r", "Yes\r", " y \r", "n\u{7f}y\r"] {
        let (code, writes, shown) = asked(keys);
        assert_eq!((code, writes.len()), (0, 1), "{keys:?}: {shown}");
    }
}

#[test]
fn preflight_asks_in_the_same_way() {
    for keys in ["\r", "no way\r"] {
        let stage = Stage::fresh();
        let mut terminal = run(&stage, &["preflight"], &[]);
        terminal.wait_for("Create it now?");
        terminal.press(keys);
        let (code, shown, _) = terminal.end();
        assert_eq!(code, 1, "{shown}");
        assert!(shown.contains("Nothing was created"), "{shown}");
        assert_eq!(stage.writes(), [""; 0]);
    }
}

#[test]
fn what_was_typed_before_the_question_does_not_answer_it() {
    for ahead in ["y\r", "kubectl get pods -o yaml\ry\r", "y"] {
        let stage = Stage::fresh();
        let mut terminal = Terminal::run_after_typing(&stage.command(&["create-role"]), ahead);
        terminal.wait_for("Create it now?");
        terminal.press("\r");
        let (code, shown, _) = terminal.end();
        assert_eq!(code, 1, "{ahead:?}: {shown}");
        assert_eq!(stage.writes(), [""; 0], "{ahead:?}");
    }
}

#[test]
fn nothing_is_asked_about_a_report_that_nobody_has_seen() {
    let stage = Stage::fresh();
    // At a terminal, and the report goes elsewhere: into a pipe, into a file, or as a document for a program.
    for line in [
        "preflight | cat > seen",
        "preflight -o json | cat > seen",
        "preflight > seen",
        "preflight -o json",
    ] {
        let mut command = stage.command(&[]);
        let script = format!(
            "{} {line}; echo \"end ${{PIPESTATUS[0]}}\"",
            crate::support::program::BINARY
        );
        command = {
            let mut shell = std::process::Command::new("bash");
            shell.env_clear();
            for (name, value) in command.get_envs() {
                if let Some(value) = value {
                    shell.env(name, value);
                }
            }
            shell.current_dir(stage.home.path()).args(["-c", &script]);
            shell
        };
        let (_, shown, _) = Terminal::run(&command).end();
        assert!(shown.contains("end 1"), "{line}: {shown}");
        assert!(!shown.contains("Create it now?"), "{line}: {shown}");
    }
    assert_eq!(stage.writes(), [""; 0]);
}

#[test]
fn a_signal_in_the_question_leaves_the_terminal_as_it_was() {
    for (signal, code) in [
        (None, 130),
        (Some("INT"), 130),
        (Some("TERM"), 143),
        (Some("HUP"), 1),
    ] {
        let stage = Stage::fresh();
        let mut terminal = run(&stage, &["create-role"], &[]);
        terminal.wait_for("Create it now?");
        match signal {
            None => terminal.press("\u{3}"),
            Some(name) => terminal.signal(name),
        }
        // The testbed's terminal says 1 for a process that a signal ended.
        assert_eq!(terminal.wait(), code, "{signal:?}: {}", terminal.shown());
        assert!(terminal.is_as_it_was(), "{signal:?}");
        assert_eq!(stage.writes(), [""; 0]);
        let (_, _, raw) = terminal.end();
        let text = String::from_utf8_lossy(&raw).into_owned();
        let (hidden, visible) = (text.rfind("\u{1b}[?25l"), text.rfind("\u{1b}[?25h"));
        assert!(hidden.is_none() || visible > hidden, "{text:?}");
    }
}

#[test]
fn ctrl_c_while_reading_is_130() {
    let stage = Stage::fresh();
    stage.standin.fault("*", capt_spot_standin::Fault::Hang);
    let mut terminal = run(&stage, &["preflight"], &[]);
    // The spinner: a person sees that something goes on.
    terminal.wait_for("reading AWS and the cluster");
    terminal.press("\u{3}");
    let (code, shown, _) = terminal.end();
    assert_eq!(code, 130, "{shown}");
}

#[test]
fn no_input_never_asks() {
    let stage = Stage::fresh();
    let (code, shown, _) = run(&stage, &["preflight", "--no-input"], &[]).end();
    assert_eq!(code, 1);
    assert!(!shown.contains("Create it now?"), "{shown}");
    let (code, shown, _) = run(&stage, &["create-role", "--no-input"], &[]).end();
    assert_eq!(code, 2);
    assert!(shown.contains("--yes"), "{shown}");
    assert_eq!(stage.writes(), [""; 0]);
}

#[test]
fn colour_on_a_terminal_unless_no_color() {
    let stage = Stage::healthy();
    let has_colour = |args: &[&str], env: &[(&str, &str)]| {
        let (code, shown, raw) = run(&stage, args, env).end();
        assert_eq!(code, 0, "{shown}");
        raw.windows(2).any(|pair| pair == b"\x1b[")
    };
    assert!(has_colour(&["preflight"], &[]));
    assert!(!has_colour(&["preflight"], &[("NO_COLOR", "1"), ("CI", "1")]));
    assert!(!has_colour(&["preflight", "--color", "never"], &[("CI", "1")]));
    assert!(
        stage
            .run(&["preflight", "--color", "always"])
            .stdout
            .contains("\u{1b}[")
    );
    assert!(!stage.run(&["preflight"]).stdout.contains('\u{1b}'));
}
