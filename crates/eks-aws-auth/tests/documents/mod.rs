//! Documents of each kind that Go's YAML and a YAML 1.2 parser read differently.

/// (what it has, the text of mapRoles). The authenticator loses all of mapRoles; a YAML 1.2 parser reads a list.
#[rustfmt::skip]
pub const GO_REFUSES: &[(&str, &str)] = &[
    ("%YAML 1.2 before the document", "%YAML 1.2\n---\n- rolearn: arn:aws:iam::111122223333:role/Dev\n"),
    ("a line with only a tab", "- rolearn: arn:aws:iam::111122223333:role/Dev\n\t\n  username: dev\n"),
    ("a tab after the dash", "-\trolearn: arn:aws:iam::111122223333:role/Dev\n"),
    ("an escaped slash", "- rolearn: \"arn:aws:iam::111122223333:role\\/Dev\"\n"),
    ("a question mark in a flow map", "- {rolearn: arn:aws:iam::111122223333:role/Dev, a: b?c}\n"),
];

/// (what it has, the text of mapRoles). The authenticator reads one entry; a YAML 1.2 parser refuses, or reads another.
#[rustfmt::skip]
pub const GO_READS: &[(&str, &str)] = &[
    ("a comment right after a quote", "- rolearn: \"arn:aws:iam::111122223333:role/Dev\"# comment\n"),
    ("text after the document's end", "- rolearn: arn:aws:iam::111122223333:role/Dev\n...\ntext: [\n"),
    ("an escaped single quote", "- rolearn: arn:aws:iam::111122223333:role/Dev\n  username: \"it\\'s\"\n"),
    ("a stray bracket after the list", "[{rolearn: arn:aws:iam::111122223333:role/Dev}]]\n"),
    ("NEL as a line break", "- rolearn: arn:aws:iam::111122223333:role/Dev\u{85}  username: dev\n"),
    ("LS as a line break", "- rolearn: arn:aws:iam::111122223333:role/Dev\u{2028}  username: dev\n"),
];
