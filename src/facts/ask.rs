//! What was asked for, as far as judging depends on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::install;
use crate::karpenter::nodepools_file::Manifests;
use crate::karpenter::objects::{NodeClass, NodePool};

/// What was asked for, as far as judging depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// `--node-role`: a name or an ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_role: Option<String>,
    /// A chart is about to be installed.
    #[serde(default)]
    pub installing: bool,
    /// The cluster that the chart names (CLUSTER_NAME).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart_cluster: Option<String>,
    /// No cluster is asked, the account's side alone.
    #[serde(default)]
    pub account_only: bool,
    /// `-n`: the namespace of the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What else the chart says, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<install::Chart>,
    /// `--nodepools`: what the file holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodepools: Option<PoolsFile>,
}

/// Node pools and node classes that are not in the cluster yet: from `--nodepools FILE`, or from the chart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolsFile {
    /// The file, as a person would name it.
    pub file: String,
    pub pools: Vec<NodePool>,
    #[serde(default)]
    pub node_classes: Vec<NodeClass>,
    /// A sentence with its line for each object that could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<String>,
    /// A value with its line for each variable that nobody filled in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placeholders: Vec<String>,
    /// Where each pool begins, by its name: the line, from 1. A rendered chart has no lines of the person's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lines: BTreeMap<String, u64>,
}

impl PoolsFile {
    pub fn new(file: impl Into<String>, manifests: Manifests) -> Self {
        let lines = manifests.pools.iter();
        Self {
            file: file.into(),
            lines: lines.map(|one| (one.value.name.clone(), one.line)).collect(),
            pools: manifests.pools.into_iter().map(|one| one.value).collect(),
            node_classes: manifests.node_classes.into_iter().map(|one| one.value).collect(),
            broken: manifests
                .broken
                .iter()
                .map(|one| format!("line {}: {}", one.line, one.value))
                .collect(),
            placeholders: manifests
                .placeholders
                .iter()
                .map(|one| format!("line {}: {}", one.line, one.value))
                .collect(),
        }
    }
}
