//! The checks' pages, as `explain` shows them and dashboards get them: `docs/checks/ID.md`.

macro_rules! pages {
    ($($id:literal)*) => {
        /// Every page, by the id of its check.
        pub(crate) static PAGES: &[(&str, &str)] = &[
            $(($id, include_str!(concat!("../../docs/checks/", $id, ".md"))),)*
        ];
    };
}

pages! {
    "cluster-found" "endpoint-matches" "same-account" "cluster-matches-chart"
    "spot-role-exists" "spot-role-intact" "spot-role-creatable" "spot-quota" "spot-kms-grant"
    "aws-auth-parses" "node-role-known" "node-role-mapped" "node-role-current" "fargate-role-mapped" "aws-auth-hygiene"
    "caller-mapped" "can-install" "masters-trust"
    "pools-want-spot" "pools-ready" "controller-running" "controller-identity" "controller-may-launch"
    "interruption-queue" "spot-failures-seen" "node-registration"
}

pub(crate) fn page_of(id: &str) -> Option<&'static str> {
    PAGES
        .iter()
        .find(|(known, _)| *known == id)
        .map(|(_, page)| *page)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::checks::REGISTRY;

    #[test]
    fn every_check_has_a_page_and_every_page_a_check() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/checks");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .expect("docs/checks")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".md").map(str::to_owned))
            .filter(|name| name != "README")
            .collect();
        let listed: BTreeSet<String> = PAGES.iter().map(|(id, _)| (*id).to_owned()).collect();
        assert_eq!(listed, files, "PAGES lists the files of docs/checks");
        for check in REGISTRY {
            assert!(page_of(check.id).is_some(), "{} has no page", check.id);
        }
        for (id, page) in PAGES {
            let check = REGISTRY.iter().find(|check| check.id == *id);
            assert!(check.is_some(), "{id}: no check has this page");
            let mut paragraphs = page.split("\n\n");
            assert_eq!(
                paragraphs.next(),
                Some(format!("# {id}").as_str()),
                "{id}: the heading is the id"
            );
            let title = paragraphs.next().unwrap_or_default().replace('\n', " ");
            if let Some(check) = check {
                assert_eq!(
                    title,
                    format!("{}.", check.title),
                    "{id}: the first paragraph is the title"
                );
            }
        }
    }
}
