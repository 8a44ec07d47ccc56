//! The page of `-o html`, in headless Chromium.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::formats::{HOSTILE, stages};
use crate::support::browser::Browser;
use crate::support::program::Stage;
use crate::support::testbed::Testbed;

const NEEDED: [&str; 3] = ["chromium", "chromedriver", "moto"];

/// How many clusters are shown.
const SHOWN: &str = "[...document.querySelectorAll('tbody.cluster')].filter((row) => !row.hidden).length";

fn written(folder: &Path, html: &str) -> PathBuf {
    let path = folder.join("report.html");
    std::fs::write(&path, html).expect("written");
    path
}

#[test]
fn one_cluster() {
    let Some(bed) = Testbed::require(&NEEDED) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut browser = Browser::start(&bed, folder.path());
    let ran = Stage::fresh().run(&["preflight", "-o", "html"]).expect(1);
    browser.open(&written(folder.path(), &ran.stdout));
    let title: String = browser.value("document.title");
    assert!(title.starts_with("NOT READY: demo (eu-west-1"), "{title}");

    browser.click("button.copy");
    assert_eq!(
        browser.clipboard(),
        browser.value::<String>("document.querySelector('pre').textContent")
    );
    browser.click("main > details > summary");
    assert!(browser.value::<bool>("document.querySelector('main > details').open"));

    // Both are read by eye when they change: the colours differ, and text stands out from what is behind it.
    let colours =
        "['color', 'backgroundColor'].map((name) => getComputedStyle(document.body)[name]).join(' ')";
    browser.prefers_dark(false);
    let light: String = browser.value(colours);
    browser.prefers_dark(true);
    let dark: String = browser.value(colours);
    assert_eq!(light, "rgb(31, 35, 40) rgb(255, 255, 255)");
    assert_eq!(dark, "rgb(230, 237, 243) rgb(13, 17, 23)");
    assert_eq!(browser.messages(), json!([]));
}

/// Nothing that a name holds is run, is loaded, or becomes an element.
#[test]
fn hostile_names_are_text() {
    let Some(bed) = Testbed::require(&NEEDED) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut browser = Browser::start(&bed, folder.path());
    for (name, stage) in stages() {
        let ran = stage.run(&["preflight", "--all-contexts", "-o", "html"]);
        browser.open(&written(folder.path(), &ran.stdout));
        let text: String = browser.value("document.body.innerText");
        if name == "hostile" {
            // What no terminal should get is written out; the rest is shown as it is.
            let plain = HOSTILE.split('\u{1b}').next().expect("a beginning");
            assert!(text.contains(plain), "{text}");
        }
        assert_eq!(browser.messages(), json!([]), "{name}");
        let elements: Vec<String> = browser
            .value("[...new Set([...document.querySelectorAll('body *')].map((e) => e.localName))].sort()");
        for element in elements {
            assert!(
                !["img", "b", "iframe", "svg"].contains(&element.as_str()),
                "{name}: {element}"
            );
        }
    }
    // And the policy would stop it: a script that is not the page's own.
    let html = Stage::healthy().run(&["preflight", "-o", "html"]).stdout;
    let with = html.replace(
        "</main>",
        "</main><script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">",
    );
    browser.open(&written(folder.path(), &with));
    assert!(!browser.value::<String>("document.title").contains("owned"));
    assert_ne!(browser.messages(), json!([]));
}

/// A thousand clusters of fifty accounts, as `fleet merge` makes a page of them.
#[test]
fn a_thousand_clusters() {
    let Some(bed) = Testbed::require(&NEEDED) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let stage = Stage::fresh();
    let bad = stage.preflight(&[]).json();
    let good = Stage::healthy().preflight(&[]).json();
    let lines: Vec<String> = (0..1000)
        .map(|n| {
            let mut report: Value = if n % 10 == 0 { bad.clone() } else { good.clone() };
            report["target"]["cluster"] = json!(format!("cluster-{n}"));
            report["target"]["account"] = json!(format!("{:012}", n % 50));
            report.to_string()
        })
        .collect();
    let shard = folder.path().join("shard.ndjson");
    std::fs::write(&shard, lines.join("\n")).expect("written");
    let shard = shard.to_str().expect("UTF-8");
    let html = stage
        .run(&["fleet", "merge", shard, "-o", "html"])
        .expect(1)
        .stdout;
    assert!(html.len() < 8_000_000, "{} bytes", html.len());

    let mut browser = Browser::start(&bed, folder.path());
    browser.open(&written(folder.path(), &html));
    assert_eq!(browser.value::<u32>(SHOWN), 1000);
    browser.type_into("#filter", "not ready");
    assert_eq!(browser.value::<u32>(SHOWN), 100);
    browser.type_into("#filter", "CLUSTER-99");
    assert_eq!(browser.value::<u32>(SHOWN), 11);
    assert_eq!(
        browser.value::<String>("document.querySelector('#shown').textContent"),
        "11 of 1000"
    );
    browser.click("#verdict option[value=fail]");
    assert_eq!(browser.value::<u32>(SHOWN), 1);
    browser.click("tbody.cluster:not([hidden]) summary");
    let report: String =
        browser.value("document.querySelector('tbody.cluster:not([hidden]) details').innerText");
    assert!(report.contains("create-role"), "{report}");
    browser.click("tbody.cluster:not([hidden]) button.copy");
    assert!(browser.clipboard().contains("create-role"));

    browser.click("#verdict option[value='']");
    browser.type_into("#filter", "");
    browser.click("#account option[value='000000000007']");
    assert_eq!(browser.value::<u32>(SHOWN), 20);
    browser.click("#account option[value='']");
    let first = "document.querySelector('tbody.cluster').rows[0].cells[1].textContent";
    browser.click("thead th:nth-child(2) button");
    assert_eq!(browser.value::<String>(first), "cluster-0");
    browser.click("thead th:nth-child(2) button");
    assert_eq!(browser.value::<String>(first), "cluster-999");
    browser.click("thead th:nth-child(1) button");
    let verdict = "document.querySelector('tbody.cluster').dataset.verdict";
    assert_eq!(browser.value::<String>(verdict), "fail");

    // A problem's link opens the cluster's report.
    browser.click("details.account summary");
    browser.click("details.account[open] li a");
    assert!(browser.value::<bool>("document.querySelector('tbody:target details').open"));
    assert_eq!(browser.messages(), json!([]));
}
