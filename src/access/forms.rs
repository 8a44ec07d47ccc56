//! A plan's access entries as other tools take them.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::migrate::{Plan, Planned};
use crate::model::Target;
use crate::text::sanitize::line;

impl Plan {
    /// An eksctl ClusterConfig, for `eksctl create accessentry -f`.
    pub(crate) fn eksctl(&self, target: &Target) -> Value {
        let entries: Vec<Value> = self.entries.iter().map(eksctl_entry).collect();
        json!({
            "apiVersion": "eksctl.io/v1alpha5", "kind": "ClusterConfig",
            "metadata": {"name": target.cluster, "region": target.region},
            "accessConfig": {"authenticationMode": "API_AND_CONFIG_MAP", "accessEntries": entries},
        })
    }

    /// A CloudFormation template. Its entries outlive the stack, and can be imported into one: both take the same policies.
    pub(crate) fn cloudformation(&self, target: &Target) -> Value {
        let mut resources = serde_json::Map::new();
        let mut names = Names::default();
        for entry in &self.entries {
            let name: String = words_of(&entry.principal_arn).map(capital).collect();
            let name = names.take(if name.is_empty() { "Entry".to_owned() } else { name }, "");
            let mut properties = json!({"ClusterName": target.cluster, "PrincipalArn": entry.principal_arn, "Type": entry.kind.as_str()});
            if let Some(username) = &entry.username {
                properties["Username"] = json!(username);
            }
            if !entry.kubernetes_groups.is_empty() {
                properties["KubernetesGroups"] = json!(entry.kubernetes_groups);
            }
            if !entry.policies.is_empty() {
                let policy = |arn: &String| json!({"PolicyArn": arn, "AccessScope": {"Type": "cluster"}});
                properties["AccessPolicies"] = entry.policies.iter().map(policy).collect();
            }
            let resource = json!({
                "Type": "AWS::EKS::AccessEntry", "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain",
                "Properties": properties,
            });
            resources.insert(name, resource);
        }
        json!({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})
    }

    /// Terraform, with the blocks that take over what the commands have created.
    pub(crate) fn terraform(&self, target: &Target) -> String {
        let mut out = String::from(
            "# The import blocks take over entries that exist. Leave them out to let Terraform create the entries.\n\n",
        );
        let cluster = target.cluster.as_str();
        let mut names = Names::default();
        for entry in &self.entries {
            let words: Vec<&str> = words_of(&entry.principal_arn).collect();
            let name = words.join("_").to_lowercase();
            let name = match name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                true => name,
                false => format!("p_{name}"),
            };
            let name = names.take(name, "_");
            let arn = &entry.principal_arn;
            let _ = write!(
                out,
                "resource \"aws_eks_access_entry\" \"{name}\" {{\n  cluster_name  = {}\n  principal_arn = {}\n  type          = {}\n",
                hcl(cluster),
                hcl(arn),
                hcl(entry.kind.as_str())
            );
            if let Some(username) = &entry.username {
                let _ = writeln!(out, "  user_name     = {}", hcl(username));
            }
            if !entry.kubernetes_groups.is_empty() {
                let groups: Vec<String> = entry.kubernetes_groups.iter().map(|group| hcl(group)).collect();
                let _ = writeln!(out, "  kubernetes_groups = [{}]", groups.join(", "));
            }
            out.push_str("}\n\n");
            let import =
                |address: &str, id: &str| format!("import {{\n  to = {address}\n  id = {}\n}}\n\n", hcl(id));
            out.push_str(&import(
                &format!("aws_eks_access_entry.{name}"),
                &format!("{cluster}:{arn}"),
            ));
            // A policy is associated with an entry that is there: the reference makes the order.
            for policy in &entry.policies {
                let _ = write!(
                    out,
                    "resource \"aws_eks_access_policy_association\" \"{name}\" {{\n  cluster_name  = {}\n  principal_arn = aws_eks_access_entry.{name}.principal_arn\n  policy_arn    = {}\n\n  access_scope {{\n    type = \"cluster\"\n  }}\n}}\n\n",
                    hcl(cluster),
                    hcl(policy)
                );
                let address = format!("aws_eks_access_policy_association.{name}");
                out.push_str(&import(&address, &format!("{cluster}#{arn}#{policy}")));
            }
        }
        out
    }
}

/// Names that are given once.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    fn take(&mut self, name: String, between: &str) -> String {
        let mut free = name.clone();
        let mut count = 1;
        while !self.0.insert(free.clone()) {
            count += 1;
            free = format!("{name}{between}{count}");
        }
        free
    }
}

/// A principal's name in words of letters and digits.
fn words_of(arn: &str) -> impl Iterator<Item = &str> {
    let name = arn.rsplit(['/', ':']).next().unwrap_or_default();
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
}

fn eksctl_entry(entry: &Planned) -> Value {
    let mut value = json!({"principalARN": entry.principal_arn, "type": entry.kind.as_str()});
    if let Some(username) = &entry.username {
        value["kubernetesUsername"] = json!(username);
    }
    if !entry.kubernetes_groups.is_empty() {
        value["kubernetesGroups"] = json!(entry.kubernetes_groups);
    }
    if !entry.policies.is_empty() {
        let policy = |arn: &String| json!({"policyARN": arn, "accessScope": {"type": "cluster"}});
        value["accessPolicies"] = entry.policies.iter().map(policy).collect();
    }
    value
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + chars.as_str()
    })
}

/// A string of HCL: nothing in it is a template.
fn hcl(text: &str) -> String {
    let text = line(text).replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace("${", "$${").replace("%{", "%%{"))
}
