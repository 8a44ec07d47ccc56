// Why this crate has a YAML front end of its own: the authenticator reads aws-auth with Go's YAML (goyaml.v2, YAML 1.1), and a
// YAML 1.2 parser reads other documents. Of the YAML test suite's 390 documents, 49 are refused by Go and read by granit-parser
// (which is under serde-saphyr), 21 the other way round; each would be a wrong answer about who may enter the cluster. Here is one
// document of each kind, read by both; tests/oracle.rs asks the authenticator's own code about them.

#![allow(missing_docs, clippy::unwrap_used)]

mod documents;

use documents::{GO_READS, GO_REFUSES};
use eks_aws_auth::AwsAuth;

/// The role ARNs, as the authenticator and as a YAML 1.2 parser reads them.
fn read_by_both(text: &str) -> (Vec<String>, Option<Vec<String>>) {
    let ours = AwsAuth::parse(&[("mapRoles".to_owned(), text.to_owned())].into());
    let theirs: Option<Vec<serde_json::Value>> = serde_yaml::from_str(text).ok();
    let arn = |entry: &serde_json::Value| entry["rolearn"].as_str().unwrap_or_default().to_owned();
    (
        ours.roles.into_iter().map(|role| role.arn).collect(),
        theirs.map(|entries| entries.iter().map(arn).collect()),
    )
}

const DEV: &str = "arn:aws:iam::111122223333:role/Dev";

#[test]
fn a_yaml_1_2_parser_reads_other_documents() {
    for (what, text) in GO_REFUSES {
        let (ours, theirs) = read_by_both(text);
        assert_eq!(ours, [""; 0], "{what}");
        assert_eq!(theirs, Some(vec![DEV.to_owned()]), "{what}");
    }
    for (what, text) in GO_READS {
        let (ours, theirs) = read_by_both(text);
        assert_eq!(ours, [DEV], "{what}");
        assert_ne!(theirs, Some(vec![DEV.to_owned()]), "{what}");
    }
}
