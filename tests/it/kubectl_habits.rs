//! What people know from kubectl: `--as`, `--cluster`, `--user`, `-q`, `version`, man pages.

use capt_spot_standin::{Kubeconfig, scenario};

use crate::support::program::Stage;

#[test]
fn the_cluster_is_asked_as_somebody_else() {
    let stage = Stage::healthy();
    let user = |args: &[&str]| {
        let report = stage.preflight(args).json();
        report["caller"]["kubernetesUser"].as_str().map(str::to_owned)
    };
    let own = user(&[]);
    assert_ne!(own.as_deref(), Some("viewer"));
    let viewer = &["--as", "viewer", "--as-group", "viewers", "--as-group", "others"];
    assert_eq!(user(viewer).as_deref(), Some("viewer"));
    let groups = stage.preflight(viewer).check("caller-mapped")["evidence"]["groups"].to_string();
    assert_eq!(groups, r#"["viewers","others","system:authenticated"]"#);
    let ran = stage.run(&["preflight", "--as-group", "viewers"]).expect(2);
    assert!(ran.stderr.contains("--as-group goes with --as"), "{}", ran.stderr);
}

#[test]
fn the_kubeconfig_s_entries_can_be_named() {
    let stage = Stage::healthy();
    let real = stage.standin.kubeconfig(scenario::CLUSTER);
    let (cluster, user) = (real.cluster.clone(), real.user.clone());
    let elsewhere = real
        .clone()
        .named("elsewhere", "nobody", "elsewhere")
        .server("http://127.0.0.1:9")
        .token("none");
    stage.write_kubeconfig_text(&Kubeconfig::file(&[elsewhere, real]));
    let ran = stage
        .preflight(&["--cluster", &cluster, "--user", &user])
        .expect(0);
    let report = ran.json();
    assert_eq!(report["target"]["context"], "elsewhere");
    assert_eq!(report["target"]["cluster"], "demo");
    let ran = stage.run(&["preflight", "--cluster", "no-such"]).expect(1);
    assert!(ran.stderr.contains("no-such"), "{}", ran.stderr);
}

#[test]
fn a_quiet_run_says_it_with_its_exit_code() {
    let stage = Stage::fresh();
    let ran = stage.run(&["preflight", "-q"]).expect(1);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    stage.preflight(&["-q"]).expect(1).json();
    let ran = stage.run(&["create-role", "-q", "--yes"]).expect(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    let ran = stage.run(&["preflight", "-q", "--context", "none"]).expect(1);
    assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
}

#[test]
fn the_version_as_text_and_for_programs() {
    let stage = Stage::healthy();
    let number = env!("CARGO_PKG_VERSION");
    let text = stage.run(&["version"]).expect(0).stdout;
    assert!(text.starts_with(&format!("capt-spot {number}")), "{text}");
    let json = stage.run(&["version", "-o", "json"]).expect(0).json();
    assert_eq!(json["version"], number);
    for field in ["commit", "buildDate", "platform"] {
        assert!(json.get(field).is_some(), "{json}");
    }
    assert_eq!(stage.standin.actions(), [""; 0], "nobody is asked");
    stage.run(&["version", "-o", "sarif"]).expect(2);
}

#[test]
fn the_job_of_the_hook_knows_its_cluster() {
    let stage = Stage::healthy();
    let job = |args: &[&str]| stage.run(&[&["hook"], args].concat());
    let ran = job(&[]).expect(0);
    for flag in ["--cluster-name=demo", "--region=eu-west-1"] {
        assert!(ran.stdout.contains(flag), "{}", ran.stdout);
    }
    assert!(
        ran.stderr.contains("the cluster demo (eu-west-1)"),
        "{}",
        ran.stderr
    );
    let ran = job(&["--cluster-name", "{{ .Values.cluster }}"]).expect(0);
    assert!(
        ran.stdout.contains("--cluster-name={{ .Values.cluster }}"),
        "{}",
        ran.stdout
    );
    stage.write_kubeconfig(&stage.standin.kubeconfig(scenario::CLUSTER).kind("token"));
    let ran = job(&[]).expect(2);
    assert!(ran.stderr.contains("--cluster-name"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
}

#[test]
fn every_verb_has_a_manual_page() {
    let stage = Stage::healthy();
    stage.run(&["man", "pages"]).expect(0);
    let mut names: Vec<String> = std::fs::read_dir(stage.home.path().join("pages"))
        .expect("pages")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    for verb in [
        "",
        "-preflight",
        "-create-role",
        "-policy-read",
        "-template-patch",
    ] {
        assert!(names.contains(&format!("kubectl-capt_spot{verb}.1")), "{names:?}");
    }
    assert!(
        !names
            .iter()
            .any(|name| name.contains("schema") || name.contains("man.1")),
        "{names:?}"
    );
    let page = std::fs::read_to_string(stage.home.path().join("pages/kubectl-capt_spot-preflight.1"));
    assert!(page.expect("a page").contains("Exit codes"));
}
