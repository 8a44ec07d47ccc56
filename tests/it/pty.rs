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
        shown.contains("not ready"),
        "the report comes before the question\n{shown}"
    );
    assert_eq!(stage.writes(), [""; 0], "nothing is written before the answer");
    terminal.press("y\r");
    let (code, shown, _) = terminal.end();
    assert!(
        shown.contains("Created arn:aws:iam::111122223333:role/aws-service-role/"),
        "{shown}"
    );
    assert!(
        shown.contains("ready: Karpenter can get spot capacity"),
        "{shown}"
    );
    assert_eq!(code, 0);
    assert_eq!(stage.writes(), ["iam:CreateServiceLinkedRole"]);
}

#[test]
fn no_and_return_leave_everything_as_it_is() {
    for keys in ["n\r", "\r"] {
        let stage = Stage::fresh();
        let mut terminal = run(&stage, &["preflight"], &[]);
        terminal.wait_for("Create it now?");
        terminal.press(keys);
        let (code, shown, _) = terminal.end();
        assert_eq!(code, 1, "{shown}");
        assert_eq!(stage.writes(), [""; 0]);
        let mut terminal = run(&stage, &["create-role"], &[]);
        terminal.wait_for("Create it now?");
        terminal.press(keys);
        let (code, shown, _) = terminal.end();
        assert_eq!(code, 1, "{shown}");
        assert!(shown.contains("Nothing was created"), "{shown}");
        assert_eq!(stage.writes(), [""; 0]);
    }
}

#[test]
fn ctrl_c_in_the_question_is_130_and_shows_the_cursor_again() {
    let stage = Stage::fresh();
    let mut terminal = run(&stage, &["create-role"], &[]);
    terminal.wait_for("Create it now?");
    terminal.press("\u{3}");
    let (code, shown, raw) = terminal.end();
    assert_eq!(code, 130, "{shown}");
    assert_eq!(stage.writes(), [""; 0]);
    let text = String::from_utf8_lossy(&raw).into_owned();
    let (hidden, visible) = (text.rfind("\u{1b}[?25l"), text.rfind("\u{1b}[?25h"));
    assert!(hidden.is_none() || visible > hidden, "{text:?}");
}

#[test]
fn a_signal_from_outside_ends_the_question_and_puts_the_terminal_back() {
    let stage = Stage::fresh();
    let mut terminal = run(&stage, &["create-role"], &[]);
    terminal.wait_for("Create it now?");
    let pid = terminal.pid().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status()
        .expect("kill");
    assert!(killed.success());
    let (code, shown, raw) = terminal.end();
    assert_eq!(code, 130, "{shown}");
    assert!(String::from_utf8_lossy(&raw).contains("\u{1b}[?25h"));
    assert_eq!(stage.writes(), [""; 0]);
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
