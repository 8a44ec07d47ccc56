//! What is released can be installed, by every way that the documentation names: from loopback copies of the release page, the
//! repository at its tag, and a registry. `make release-rehearsal` runs the same on the files that a release would publish.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::dist::{VERSION, archive, dist, git, make_dist, make_repository, platform, root};
use crate::support::program::{Ran, Stage};
use crate::support::release_page::{Answer, PROJECT, ReleasePage};
use crate::support::testbed::{Registry, Testbed, output, succeed};

const HELMS: [&str; 2] = ["helm3", "helm4"];
const SAYS: &str = concat!("capt-spot ", env!("CARGO_PKG_VERSION"));

/// The release page with everything on it, and its repository; made anew, for tests change what it answers.
struct World {
    page: ReleasePage,
    /// github.com and what is below it.
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let project = folder.path().join(PROJECT);
        let downloads = project.join(format!("releases/download/v{VERSION}"));
        fs::create_dir_all(&downloads).expect("a folder");
        for entry in fs::read_dir(dist())
            .expect("the release")
            .map(|entry| entry.expect("an entry"))
        {
            if entry.path().is_file() {
                fs::hard_link(entry.path(), downloads.join(entry.file_name()))
                    .or_else(|_| fs::copy(entry.path(), downloads.join(entry.file_name())).map(|_| ()))
                    .expect("copied");
            }
        }
        let world = Self {
            page: ReleasePage::start(folder.path()),
            folder,
        };
        make_repository(&world.clone_of_it());
        // Git's way to serve a repository as plain files.
        let mut bare = git(world.folder.path());
        bare.args(["clone", "--quiet", "--bare"])
            .arg(world.clone_of_it())
            .arg("bare");
        succeed(output(bare));
        let mut serve = git(&world.folder.path().join("bare"));
        serve.args(["update-server-info"]);
        succeed(output(serve));
        for entry in fs::read_dir(world.folder.path().join("bare")).expect("a folder") {
            let entry = entry.expect("an entry");
            fs::rename(entry.path(), project.join(entry.file_name())).expect("moved");
        }
        world
    }

    fn clone_of_it(&self) -> PathBuf {
        self.folder.path().join("clone")
    }

    /// Its address for Git, without a server.
    fn file_url(&self) -> String {
        format!("file://{}", self.clone_of_it().display())
    }
}

/// What our own scripts say, without what differs from run to run.
fn said_by_us(ran: &Ran, world: &World) -> String {
    let sums = regex_lite::Regex::new("[0-9a-f]{64}").expect("a pattern");
    let lines = ran.stderr.lines().filter(|line| line.starts_with("capt-spot: "));
    let text = lines.fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    });
    let text = text
        .replace(&world.page.mirror(), "MIRROR")
        .replace(&world.folder.path().display().to_string(), "FOLDER")
        .replace(&platform("_"), "PLATFORM")
        .replace(&platform("/"), "PLATFORM")
        .replace(VERSION, "VERSION");
    sums.replace_all(&text, "SUM").into_owned()
}

fn helm(bed: &Testbed, helm: &str, home: &Path, environment: &[(&str, String)], args: &[&str]) -> Ran {
    let mut command = bed.command(helm, home);
    command
        .args(args)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    Ran::from(&output(command))
}

/// A Git URL, as each major takes it.
fn from_git<'a>(helm: &str, url: &'a str) -> Vec<&'a str> {
    let mut words = vec!["plugin", "install", url];
    if helm == "helm4" {
        words.push("--verify=false");
    }
    words
}

fn plugins(home: &Path) -> Vec<String> {
    let folder = home.join(".local/share/helm/plugins");
    let entries = fs::read_dir(folder).into_iter().flatten().map_while(Result::ok);
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_helm_plugin_from_git_is_the_verified_program_or_none() {
    let Some(bed) = Testbed::require(&HELMS) else {
        return;
    };
    let world = World::new();
    let url = world.file_url();
    let mut story = BTreeMap::new();
    for major in HELMS {
        let home = tempfile::tempdir().expect("a home");
        let mirror = [("CAPT_SPOT_MIRROR", world.page.mirror())];
        let install = from_git(major, &url);
        let run =
            |environment: &[(&str, String)], args: &[&str]| helm(&bed, major, home.path(), environment, args);
        let mut told = String::new();
        let mut tell = |title: &str, ran: &Ran| {
            let _ = writeln!(told, "{title}\n{}", said_by_us(ran, &world));
        };
        for (title, answer) in [
            ("another archive", Answer::Another),
            ("no such archive", Answer::Missing),
            ("half an archive", Answer::Half),
        ] {
            world.page.answer(answer);
            let ran = run(&mirror, &install).expect(1);
            tell(title, &ran);
            assert_eq!(plugins(home.path()), [""; 0], "{major} {title}");
        }
        world.page.answer(Answer::Whole);
        let elsewhere = archive().display().to_string();
        let damaged = home.path().join("damaged");
        fs::write(&damaged, "an archive").expect("written");
        let nowhere = "http://127.0.0.1:1".to_owned();
        let given = |file: String| [("CAPT_SPOT_ARCHIVE", file), ("CAPT_SPOT_MIRROR", nowhere.clone())];
        for (title, file) in [
            ("another archive, given", damaged.display().to_string()),
            (
                "no archive, given",
                home.path().join("none").display().to_string(),
            ),
        ] {
            let ran = run(&given(file), &install).expect(1);
            tell(
                title,
                &Ran {
                    stderr: ran.stderr.replace(&home.path().display().to_string(), "HOME"),
                    ..ran
                },
            );
            assert_eq!(plugins(home.path()), [""; 0], "{major} {title}");
        }
        world.page.asked();
        tell("offline", &run(&given(elsewhere), &install).expect(0));
        assert_eq!(world.page.asked(), [""; 0]);
        assert_eq!(
            run(&[], &["capt-spot", "--version"]).expect(0).stdout.trim(),
            SAYS
        );

        world.page.answer(Answer::Another);
        tell(
            "update to another archive",
            &run(&mirror, &["plugin", "update", "capt-spot"]).expect(1),
        );
        assert_eq!(
            run(&[], &["capt-spot", "--version"]).expect(0).stdout.trim(),
            SAYS
        );
        world.page.answer(Answer::Whole);
        tell(
            "update",
            &run(&mirror, &["plugin", "update", "capt-spot"]).expect(0),
        );
        run(&[], &["plugin", "uninstall", "capt-spot"]).expect(0);
        let mut tagged = install.clone();
        let tag = format!("v{VERSION}");
        tagged.extend(["--version", &tag]);
        tell("install", &run(&mirror, &tagged).expect(0));
        assert_eq!(
            run(&[], &["capt-spot", "--version"]).expect(0).stdout.trim(),
            SAYS
        );
        let folder = home
            .path()
            .join(".local/share/helm/plugins/clone/bin")
            .join(platform("-"));
        let mut left: Vec<_> = fs::read_dir(folder)
            .expect("a folder")
            .map(|e| e.expect("an entry").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["LICENSE", "THIRD-PARTY-NOTICES.txt", "kubectl-capt_spot"]);
        story.insert(major, told);
    }
    assert_eq!(story["helm3"], story["helm4"], "one story for both");
    insta::assert_snapshot!(story["helm3"]);
}

#[test]
fn a_failed_hook_leaves_somebody_s_own_folder_alone() {
    let Some(bed) = Testbed::require(&HELMS) else {
        return;
    };
    let world = World::new();
    world.page.answer(Answer::Missing);
    let own = world.clone_of_it();
    for major in HELMS {
        let home = tempfile::tempdir().expect("a home");
        let mirror = [("CAPT_SPOT_MIRROR", world.page.mirror())];
        helm(
            &bed,
            major,
            home.path(),
            &mirror,
            &["plugin", "install", &own.display().to_string()],
        )
        .expect(1);
        assert_eq!(plugins(home.path()), [""; 0], "{major}");
        assert!(
            own.join("plugin.yaml").is_file() && !own.join("bin").exists(),
            "{major}"
        );
    }
}

#[test]
fn a_commit_without_a_release_says_so() {
    let Some(bed) = Testbed::require(&["helm4"]) else {
        return;
    };
    let world = World::new();
    let sums = root().join("packaging/install/checksums.txt");
    // As in the sources, where no release has written it, or by one for another platform.
    let none: String = fs::read_to_string(sums)
        .expect("the sums")
        .lines()
        .filter(|line| !line.contains(&platform("_")))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(world.clone_of_it().join("packaging/install/checksums.txt"), none).expect("written");
    let mut commit = git(&world.clone_of_it());
    commit.args(["commit", "--quiet", "--all", "--message=before"]);
    succeed(output(commit));
    let home = tempfile::tempdir().expect("a home");
    let url = world.file_url();
    let ran = helm(&bed, "helm4", home.path(), &[], &from_git("helm4", &url)).expect(1);
    insta::assert_snapshot!(said_by_us(&ran, &world));
    assert_eq!(plugins(home.path()), [""; 0]);
}

/// The blocks of shell lines of the README's section on installing.
fn install_blocks() -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let from = readme.find("\n## Install\n").expect("the section");
    let section = &readme[from..from + readme[from + 4..].find("\n## ").expect("the next") + 4];
    section
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().expect("an end").to_owned())
        .collect()
}

/// Every line is run as it stands there, by the programs that it names, with the release page where the real one is. What builds
/// from source is left to the rehearsal (packaging/rehearse.py), which waits for the compiler.
#[test]
fn every_install_line_of_the_readme_works() {
    let Some(bed) = Testbed::require(&["kubectl", "krew", "helm3", "helm4"]) else {
        return;
    };
    let world = World::new();
    let mut asked = Vec::new();
    let mut left = Vec::new();
    for block in install_blocks() {
        if block.starts_with("cargo ") {
            left.push(block);
            continue;
        }
        let majors: &[&str] = if block.contains("helm ") {
            &HELMS
        } else {
            &["helm4"]
        };
        for major in majors {
            let home = tempfile::tempdir().expect("a home");
            let tools = home.path().join("tools");
            fs::create_dir(&tools).expect("a folder");
            for (name, program) in [("kubectl", "kubectl"), ("kubectl-krew", "krew"), ("helm", *major)] {
                std::os::unix::fs::symlink(bed.path(program), tools.join(name)).expect("a link");
            }
            let path = [
                tools.display().to_string(),
                home.path().join(".krew/bin").display().to_string(),
                home.path().join(".local/bin").display().to_string(),
                std::env::var("PATH").unwrap_or_default(),
            ]
            .join(":");
            // Helm 3 does not know the flag that Helm 4 wants.
            let script = match *major {
                "helm3" => block.replace(" --verify=false", ""),
                _ => block.clone(),
            };
            fs::create_dir_all(home.path().join(".local/bin")).expect("a folder");
            let mut shell = bed.command("kubectl", home.path());
            shell = {
                let mut sh = Command::new("sh");
                sh.args(["-euc", &script])
                    .current_dir(home.path())
                    .env_clear()
                    .envs(
                        shell
                            .get_envs()
                            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))),
                    )
                    .env("PATH", path)
                    .env("GIT_CONFIG_GLOBAL", "/dev/null")
                    .envs(world.page.environment());
                sh
            };
            let ran = Ran::from(&output(shell)).expect(0);
            let installed = if block.contains("helm ") {
                let mut version = bed.command(major, home.path());
                version.args(["capt-spot", "--version"]);
                version
            } else if block.contains("krew") {
                Command::new(home.path().join(".krew/bin/kubectl-capt_spot"))
            } else {
                Command::new(home.path().join(".local/bin/kubectl-capt_spot"))
            };
            let mut installed = installed;
            if !block.contains("helm ") {
                installed.arg("--version");
            }
            assert_eq!(
                succeed(output(installed)).trim(),
                SAYS,
                "{script}\n{}",
                ran.stderr
            );
            asked.extend(
                world
                    .page
                    .asked()
                    .into_iter()
                    .filter(|line| line.contains("/releases/download/")),
            );
        }
    }
    assert!(asked.len() >= 4, "each downloads: {asked:?}");
    assert!(left.len() <= 1, "{left:?}");
}

#[test]
fn helm_4_installs_from_a_registry() {
    let Some(bed) = Testbed::require(&["helm4", "oci-registry"]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::start(&bed, folder.path());
    let reference = registry.oci(&format!("appthrust/helm-plugins/capt-spot:{VERSION}"));
    let mut push = Command::new("python3");
    push.arg(root().join("packaging/oci.py"))
        .arg(reference.trim_start_matches("oci://"))
        .arg(dist().join(format!("capt-spot-{VERSION}.tgz")));
    let pushed = succeed(output(push));
    assert!(pushed.contains("@sha256:"), "{pushed}");
    let home = tempfile::tempdir().expect("a home");
    let line = ["plugin", "install", &reference, "--plain-http"];
    // Nobody signed it here.
    let ran = helm(&bed, "helm4", home.path(), &[], &line).expect(1);
    assert!(ran.stderr.contains("no provenance file"), "{}", ran.stderr);
    helm(
        &bed,
        "helm4",
        home.path(),
        &[],
        &[&line[..], &["--verify=false"]].concat(),
    )
    .expect(0);
    let ran = helm(&bed, "helm4", home.path(), &[], &["capt-spot", "--version"]).expect(0);
    assert_eq!(ran.stdout.trim(), SAYS);
}

#[test]
fn what_dist_makes_is_the_same_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    // It has to name its version, and write pages and completions; the real one is large.
    let program = folder.path().join("program");
    let script = format!(
        "#!/bin/sh\ncase $1 in --version) echo {SAYS} ;; man) mkdir $2; echo page > $2/a.1 ;; *) echo ;; esac\n"
    );
    fs::write(&program, script).expect("written");
    let sums = ["one", "two"].map(|name| {
        let out = folder.path().join(name);
        make_dist(&program, &out);
        fs::read_to_string(out.join("checksums.txt")).expect("checksums")
    });
    assert_eq!(sums[0], sums[1]);
    assert_eq!(sums[0].lines().count(), 7, "{}", sums[0]);
}

#[test]
fn krew_takes_the_archive() {
    let Some(bed) = Testbed::require(&["krew", "validate-krew-manifest"]) else {
        return;
    };
    let one = dist();
    let sums = fs::read_to_string(one.join("checksums.txt")).expect("checksums");
    let archive = sums
        .lines()
        .filter_map(|line| line.split_once("  "))
        .find(|(_, name)| name.ends_with(&format!("_{}.tar.gz", platform("_"))))
        .expect("an archive");
    let manifest = fs::read_to_string(one.join("capt-spot.yaml")).expect("a manifest");
    assert!(
        manifest.contains(&format!("sha256: {}\n", archive.0)),
        "{manifest}"
    );

    let home = tempfile::tempdir().expect("a home");
    let mut validate = bed.command("validate-krew-manifest", home.path());
    validate
        .arg("-manifest")
        .arg(one.join("capt-spot.yaml"))
        .arg("-skip-install");
    succeed(output(validate));

    let mut krew = bed.command("krew", home.path());
    krew.arg("install")
        .arg(format!("--manifest={}", one.join("capt-spot.yaml").display()))
        .arg(format!("--archive={}", one.join(archive.1).display()))
        .env("KREW_ROOT", home.path().join("krew"));
    succeed(output(krew));
    let mut installed = Command::new(home.path().join("krew/bin/kubectl-capt_spot"));
    installed.arg("--version");
    let version = succeed(output(installed));
    assert_eq!(version.trim(), concat!("capt-spot ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn both_majors_install_the_packed_plugin() {
    let Some(bed) = Testbed::require(&["helm3", "helm4", "oci-registry"]) else {
        return;
    };
    let name = concat!("capt-spot-", env!("CARGO_PKG_VERSION"), ".tgz");
    let packed = dist().join(name);
    let served = tempfile::tempdir().expect("a folder");
    fs::copy(&packed, served.path().join(name)).expect("copied");
    let registry = Registry::start(&bed, served.path());
    let url = format!("{}/{name}", registry.repository());
    // As the README says it for the archive alone.
    let unpacked = tempfile::tempdir().expect("a folder");
    let mut tar = Command::new("tar");
    tar.arg("xzf")
        .arg(&packed)
        .arg("capt-spot")
        .current_dir(unpacked.path());
    succeed(output(tar));
    let folder = unpacked.path().join("capt-spot").display().to_string();
    let packed = packed.display().to_string();
    for (helm, from) in [
        ("helm3", &[url.as_str()][..]),
        ("helm3", &[folder.as_str()]),
        ("helm4", &[packed.as_str(), "--verify=false"]),
        ("helm4", &[url.as_str(), "--verify=false"]),
        ("helm4", &[folder.as_str()]),
    ] {
        let home = tempfile::tempdir().expect("a home");
        let mut install = bed.command(helm, home.path());
        install.args(["plugin", "install"]).args(from);
        succeed(output(install));
        let mut version = bed.command(helm, home.path());
        version.args(["capt-spot", "--version"]);
        assert_eq!(
            succeed(output(version)).trim(),
            concat!("capt-spot ", env!("CARGO_PKG_VERSION")),
            "{helm} {from:?}"
        );
    }
}

/// krew-index's rules for what a person reads in a terminal.
#[test]
fn the_krew_manifest_reads_well() {
    let manifest = fs::read_to_string(dist().join("capt-spot.yaml")).expect("the manifest");
    let manifest: Value = serde_yaml::from_str(&manifest).expect("YAML");
    let text = |name: &str| manifest["spec"][name].as_str().expect(name).to_owned();
    assert!(text("shortDescription").len() <= 50);
    for part in ["description", "caveats"] {
        for line in text(part).lines() {
            assert!(line.chars().count() <= 80, "{part}: {line}");
        }
    }
    assert!(
        !text("description").contains("kubectl "),
        "usage belongs into caveats"
    );
}

#[test]
fn every_archive_has_what_belongs_to_the_program() {
    let mut list = Command::new("tar");
    list.arg("tzf").arg(archive());
    let names = succeed(output(list));
    for name in [
        "LICENSE",
        "THIRD-PARTY-NOTICES.txt",
        "kubectl-capt_spot",
        "kubectl_complete-capt_spot",
        "man/kubectl-capt_spot.1",
        "man/kubectl-capt_spot-preflight.1",
        "completions/kubectl-capt_spot.bash",
        "completions/_kubectl-capt_spot",
        "completions/kubectl-capt_spot.fish",
    ] {
        assert!(names.lines().any(|line| line == name), "{name}: {names}");
    }
    let mut notices = Command::new("tar");
    notices.arg("xzOf").arg(archive()).arg("THIRD-PARTY-NOTICES.txt");
    let notices = succeed(output(notices));
    // Linked, under a licence that wants its text kept; and one that only tests use.
    assert!(notices.contains("  ring "), "{notices}");
    assert!(notices.contains("Permission to use, copy, modify"), "ISC");
    assert!(!notices.contains("  proptest "));
}

#[test]
fn cargo_binstall_is_led_to_archives_that_there_are() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let krew = fs::read_to_string(root().join("krew-manifest.yaml")).expect("the manifest");
    let override_ = regex_lite::Regex::new(r#"(?m)^([a-z0-9_-]+) = \{ pkg-url = "\{ repo \}(/[^"]+)" \}$"#)
        .expect("a pattern");
    let mut seen = 0;
    for found in override_.captures_iter(&manifest) {
        seen += 1;
        let (target, path) = (&found[1], found[2].replace("{ version }", "${VERSION}"));
        assert!(krew.contains(&format!("{path}\n")), "{target}: {path}");
        let arch = if target.starts_with("x86_64") {
            "amd64"
        } else {
            "arm64"
        };
        let system = ["linux", "darwin", "windows"]
            .into_iter()
            .find(|system| target.contains(system))
            .expect(target);
        assert!(
            path.ends_with(&format!("_{system}_{arch}.tar.gz")),
            "{target}: {path}"
        );
    }
    assert_eq!(seen, 8);
}

#[test]
fn the_example_of_the_action_is_the_one_in_the_docs() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect(name);
    let example = read("examples/preflight.workflow.yml");
    // Without the note of where it goes, and what the linter is told.
    let (_, example) = example.split_once('\n').expect("lines");
    let lines = example
        .lines()
        .map(|line| line.split(" # zizmor:").next().unwrap_or_default());
    let example = lines.fold(String::new(), |text, line| text + line + "\n");
    assert!(read("docs/ci.md").contains(&format!("```yaml\n{example}```\n")));
}

/// One version, from Cargo.toml; everything that names it names the same.
#[test]
fn there_is_one_version() {
    let read =
        |name: &str| fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let manifest = read("Cargo.toml");
    let own = regex_lite::Regex::new(r#"path = "crates/[a-z-]+", version = "([^"]+)""#).expect("a pattern");
    let named: Vec<_> = own
        .captures_iter(&manifest)
        .map(|found| found[1].to_owned())
        .collect();
    assert_eq!(named, vec![VERSION; 2], "the dependencies between our crates");
    assert!(
        read("CHANGELOG.md").contains(&format!("\n## {VERSION} - ")),
        "a section of the changelog"
    );
    for plugin in ["plugin.yaml", "helm-postrenderer/capt-spot-gate/plugin.yaml"] {
        assert!(
            read(plugin).contains(&format!("\nversion: {VERSION}\n")),
            "{plugin}"
        );
    }
    let chart = read("charts/capt-spot/Chart.yaml");
    for key in ["version", "appVersion"] {
        assert!(
            chart.contains(&format!("\n{key}: {VERSION}\n")),
            "the chart's {key}"
        );
    }
    let ways = regex_lite::Regex::new(
        r"(?:releases/download/v|kubectl-capt_spot_v|kubectl-capt-spot@v|--version v|rev: v|VERSION: |capt-spot:v?|capt-spot-)(\d+\.\d+\.\d+)",
    )
    .expect("a pattern");
    let mut seen = 0;
    let mut files = vec![
        "README.md".to_owned(),
        "SECURITY.md".to_owned(),
        "action.yml".to_owned(),
    ];
    for folder in ["docs", "examples"] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            if entry.path().is_file() {
                files.push(format!("{folder}/{}", entry.file_name().to_string_lossy()));
            }
        }
    }
    for file in files {
        for found in ways.captures_iter(&read(&file)) {
            seen += 1;
            assert_eq!(&found[1], VERSION, "{file}: {}", &found[0]);
        }
    }
    assert!(seen >= 4, "the pattern finds them");
}

#[test]
fn only_check_asks_for_a_newer_release_and_it_asks_nobody_else() {
    let world = World::new();
    let mut stage = Stage::healthy();
    // What AWS would be asked with is not even looked at.
    stage.set("AWS_PROFILE", "no-such-profile");
    for (name, value) in world.page.environment() {
        stage.set(name, &value);
    }
    stage.run(&["version"]).expect(0);
    stage.run(&["preflight", "--no-input"]);
    assert_eq!(world.page.asked(), [""; 0]);
    let same = stage.run(&["version", "--check"]).expect(0);
    assert!(same.stdout.contains("no newer release"), "{}", same.stdout);
    assert_eq!(world.page.asked(), [format!("GET {PROJECT}/releases/latest")]);
    world.page.newest("99.0.1");
    let newer = stage.run(&["version", "--check", "-o", "json"]).expect(0).json();
    let expected = serde_json::json!({
        "version": "99.0.1", "isNewer": true,
        "url": format!("https://{PROJECT}/releases/tag/v99.0.1"),
    });
    assert_eq!(newer["newest"], expected);
    world.page.newest("not-a-version");
    let strange = stage.run(&["version", "--check"]).expect(1);
    assert!(
        strange.stderr.contains("does not lead to a release"),
        "{}",
        strange.stderr
    );
    stage.set("HTTPS_PROXY", "http://127.0.0.1:1");
    let unreachable = stage.run(&["version", "--check"]).expect(1);
    assert!(
        unreachable.stderr.contains("the newest release is not known"),
        "{}",
        unreachable.stderr
    );
    assert_eq!(unreachable.stdout, "");
}

/// Runs a composite action's shell steps as GitHub's runner does: expressions, `if`, files for outputs and PATH.
struct Runner<'a> {
    world: &'a World,
    stage: &'a Stage,
    temporary: tempfile::TempDir,
}

struct Job {
    code: i32,
    outputs: BTreeMap<String, String>,
    summary: String,
    stdout: String,
    /// The actions of others that would run, with their inputs.
    uses: Vec<Value>,
}

impl Runner<'_> {
    fn run(&self, with: &[(&str, &str)]) -> Job {
        let text = fs::read_to_string(self.world.clone_of_it().join("action.yml")).expect("the action");
        let action: Value = serde_yaml::from_str(&text).expect("YAML");
        let folder = self.temporary.path();
        let mut known = BTreeMap::from([
            ("runner.os".to_owned(), "Linux".to_owned()),
            ("runner.arch".to_owned(), "X64".to_owned()),
            ("runner.temp".to_owned(), folder.display().to_string()),
            (
                "github.action_path".to_owned(),
                self.world.clone_of_it().display().to_string(),
            ),
        ]);
        for (name, input) in action["inputs"].as_object().expect("inputs") {
            let given = with
                .iter()
                .find(|(given, _)| given == name)
                .map(|(_, value)| *value);
            let value = given.unwrap_or_else(|| input["default"].as_str().expect("a default"));
            known.insert(format!("inputs.{name}"), value.to_owned());
        }
        for (name, _) in with {
            assert!(known.contains_key(&format!("inputs.{name}")), "an input {name}");
        }
        let mut job = Job {
            code: 0,
            outputs: BTreeMap::new(),
            summary: String::new(),
            stdout: String::new(),
            uses: Vec::new(),
        };
        for step in action["runs"]["steps"].as_array().expect("steps") {
            let condition = step["if"].as_str().unwrap_or("true == true");
            if !holds(condition, &known) {
                continue;
            }
            if step.get("uses").is_some() {
                let mut step = step.clone();
                for value in step["with"].as_object_mut().expect("inputs").values_mut() {
                    *value = filled(value.as_str().expect("text"), &known).into();
                }
                job.uses.push(step);
                continue;
            }
            let [output, path, summary] = ["output", "path", "summary"].map(|name| folder.join(name));
            // A step's own; PATH and summary are the job's.
            let _ = fs::remove_file(&output);
            let mut shell = Command::new("bash");
            shell.args([
                "--noprofile",
                "--norc",
                "-eo",
                "pipefail",
                "-c",
                step["run"].as_str().expect("a script"),
            ]);
            let added = fs::read_to_string(&path).unwrap_or_default();
            let search = format!("{}:{}", added.trim(), std::env::var("PATH").unwrap_or_default());
            shell
                .current_dir(folder)
                .env_clear()
                .envs(self.stage.environment())
                .env("CAPT_SPOT_MIRROR", self.world.page.mirror())
                .env("PATH", search.trim_start_matches(':'))
                .env("GITHUB_OUTPUT", &output)
                .env("GITHUB_PATH", &path)
                .env("GITHUB_STEP_SUMMARY", &summary);
            for (name, value) in step["env"].as_object().expect("an environment") {
                shell.env(name, filled(value.as_str().expect("text"), &known));
            }
            let ran = Ran::from(&crate::support::testbed::output(shell));
            job.stdout.push_str(&ran.stdout);
            for line in fs::read_to_string(&output).unwrap_or_default().lines() {
                let (name, value) = line.split_once('=').expect("NAME=VALUE");
                let id = step["id"].as_str().expect("an id");
                known.insert(format!("steps.{id}.outputs.{name}"), value.to_owned());
            }
            job.summary = fs::read_to_string(&summary).unwrap_or_default();
            job.code = ran.code;
            if ran.code != 0 {
                break;
            }
        }
        for (name, output) in action["outputs"].as_object().expect("outputs") {
            job.outputs.insert(
                name.clone(),
                filled(output["value"].as_str().expect("text"), &known),
            );
        }
        job
    }
}

/// The text with each `${{ NAME }}` replaced; what was not set is empty.
fn filled(text: &str, known: &BTreeMap<String, String>) -> String {
    let expression = regex_lite::Regex::new(r"\$\{\{ ([a-z_.-]+) \}\}").expect("a pattern");
    let filled = expression.replace_all(text, |found: &regex_lite::Captures<'_>| {
        known.get(&found[1]).cloned().unwrap_or_default()
    });
    assert!(!filled.contains("${{"), "{text}");
    filled.into_owned()
}

/// Comparisons, joined by `&&`.
fn holds(condition: &str, known: &BTreeMap<String, String>) -> bool {
    condition.split(" && ").all(|comparison| {
        let value = |word: &str| match word.strip_prefix('\'') {
            Some(text) => text.trim_end_matches('\'').to_owned(),
            None if word == "true" => word.to_owned(),
            None => known.get(word).cloned().unwrap_or_default(),
        };
        match comparison.split_once(" == ") {
            Some((left, right)) => value(left) == value(right),
            None => {
                let (left, right) = comparison.split_once(" != ").expect("a comparison");
                value(left) != value(right)
            }
        }
    })
}

#[test]
fn the_action_installs_judges_and_reports() {
    let world = World::new();
    let run = |stage: &Stage, with: &[(&str, &str)]| {
        Runner {
            world: &world,
            stage,
            temporary: tempfile::tempdir().expect("a folder"),
        }
        .run(with)
    };
    let verdict = |job: &Job| {
        (
            job.code,
            job.outputs["verdict"].clone(),
            job.outputs["exit-code"].clone(),
        )
    };
    let words = |code: i32, verdict: &str, exit: &str| (code, verdict.to_owned(), exit.to_owned());

    let job = run(&Stage::healthy(), &[]);
    assert_eq!(verdict(&job), words(0, "ready", "0"), "{}", job.stdout);
    assert!(job.uses.is_empty());

    let stage = Stage::fresh();
    let job = run(
        &stage,
        &[("upload-sarif", "true"), ("flags", "--only\nspot-role\n")],
    );
    assert_eq!(verdict(&job), words(1, "not-ready", "1"), "{}", job.stdout);
    assert!(job.stdout.contains("::error "), "{}", job.stdout);
    assert!(
        job.summary.contains("spot-role-exists") && !job.summary.contains("node-role-mapped"),
        "{}",
        job.summary
    );
    assert_eq!(job.uses.len(), 1);
    assert_eq!(job.uses[0]["with"]["sarif_file"], "capt-spot.sarif");
    assert_eq!(stage.writes(), [""; 0]);

    let stage = Stage::healthy();
    let arn = ["--only", "nothing-of-this-name"].join("\n");
    assert_eq!(verdict(&run(&stage, &[("flags", &arn)])), words(2, "failed", "2"));
    stage
        .standin
        .fault("iam:GetRole", capt_spot_standin::Fault::proxy_page(403));
    assert_eq!(verdict(&run(&stage, &[])), words(3, "undecided", "3"));
    assert_eq!(
        verdict(&run(&stage, &[("undecided", "pass")])),
        words(0, "undecided", "3")
    );

    let job = run(&stage, &[("install-only", "true")]);
    assert_eq!(verdict(&job), words(0, "", ""));
    world.page.answer(Answer::Another);
    let job = run(&stage, &[]);
    assert_eq!(
        verdict(&job),
        words(1, "", ""),
        "a program that is not the release's is not run"
    );
}

#[test]
fn the_pre_commit_hooks_judge_what_changed() {
    let world = World::new();
    let home = tempfile::tempdir().expect("a home");
    let work = home.path().join("work");
    fs::create_dir(&work).expect("a folder");
    let hooks = fs::read_to_string(root().join(".pre-commit-hooks.yaml")).expect("the hooks");
    let hooks: Value = serde_yaml::from_str(&hooks).expect("YAML");
    let run = |id: &str, args: &[&str]| {
        let hook = hooks
            .as_array()
            .expect("a list")
            .iter()
            .find(|hook| hook["id"] == id)
            .expect("the hook");
        assert_eq!(hook["language"], "script");
        let mut words = hook["entry"].as_str().expect("words").split(' ');
        let mut command = Command::new(world.clone_of_it().join(words.next().expect("a script")));
        command
            .args(words)
            .args(args)
            .current_dir(&work)
            .env_remove("XDG_CACHE_HOME")
            .env("HOME", home.path())
            .env("CAPT_SPOT_MIRROR", world.page.mirror());
        Ran::from(&output(command))
    };
    let aws_auth = |role: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: aws-auth, namespace: kube-system}}\ndata:\n  mapRoles: |\n    - rolearn: arn:aws:iam::111122223333:role/{role}\n      username: {role}\n      groups: [system:masters]\n"
        )
    };
    let template = root()
        .join("examples/workspace-template.yaml")
        .display()
        .to_string();
    let patched = root()
        .join("examples/workspace-template.require.yaml")
        .display()
        .to_string();
    run("capt-spot-template-check", &[&template]).expect(1);
    run("capt-spot-template-check", &[&patched]).expect(0);
    assert_eq!(world.page.asked().len(), 1, "fetched once");

    fs::write(work.join("aws-auth.yaml"), aws_auth("one")).expect("written");
    for line in [
        &["init", "--quiet"][..],
        &["add", "."],
        &["commit", "--quiet", "--message=before"],
    ] {
        let mut command = git(&work);
        command.args(line);
        succeed(output(command));
    }
    let [one, two] = ["one", "two"].map(|role| format!("arn:aws:iam::111122223333:role/{role}"));
    run("capt-spot-whois", &[&one, "aws-auth.yaml"]).expect(0);
    run("capt-spot-whois", &[&one, &two, "aws-auth.yaml"]).expect(1);
    run("capt-spot-access-diff", &["aws-auth.yaml"]).expect(0);
    fs::write(work.join("aws-auth.yaml"), aws_auth("two")).expect("written");
    let ran = run("capt-spot-access-diff", &["aws-auth.yaml"]).expect(1);
    assert!(ran.stdout.contains("role/one"), "{}", ran.stdout);
    fs::write(work.join("aws-auth-new.yaml"), aws_auth("two")).expect("written");
    run("capt-spot-access-diff", &["aws-auth-new.yaml"]).expect(0);
    assert_eq!(world.page.asked(), [""; 0]);
}
