//! Which EC2 instances a pool can launch, as far as the choice of a spot quota needs it.
//!
//! EC2 counts running spot instances in vCPUs, in a handful of quotas by the letters that an instance type begins with
//! (EC2 user guide, "Spot Instance quotas"). Karpenter calls those letters the instance category
//! (`karpenter.k8s.aws/instance-category`, `pkg/providers/instancetype/types.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::objects::NodePool;
use super::requirements::{ValueSet, admitted};

/// One of the quotas on the vCPUs of running spot instances, service code `ec2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpotQuota {
    /// A, C, D, H, I, M, R, T and Z: nearly everything.
    Standard,
    /// F: FPGAs.
    F,
    /// G and VT: graphics and video.
    GAndVt,
    /// Inf: Inferentia.
    Inf,
    /// P2, P3, P4: GPUs.
    P,
    /// P5: GPUs.
    P5,
    /// Trn: Trainium.
    Trn,
    /// X: much memory.
    X,
    /// DL: deep learning.
    Dl,
}

impl SpotQuota {
    #[cfg(test)]
    const ALL: [Self; 9] = [
        Self::Standard,
        Self::F,
        Self::GAndVt,
        Self::Inf,
        Self::P,
        Self::P5,
        Self::Trn,
        Self::X,
        Self::Dl,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Self::Standard => "L-34B43A08",
            Self::F => "L-88CF9481",
            Self::GAndVt => "L-3819A6DF",
            Self::Inf => "L-B5D1601B",
            Self::P => "L-7212CCBC",
            Self::P5 => "L-C4BD4855",
            Self::Trn => "L-6B0D517C",
            Self::X => "L-E3A00192",
            Self::Dl => "L-85EED4F7",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
            Self::F => "All F Spot Instance Requests",
            Self::GAndVt => "All G and VT Spot Instance Requests",
            Self::Inf => "All Inf Spot Instance Requests",
            Self::P => "All P4, P3 and P2 Spot Instance Requests",
            Self::P5 => "All P5 Spot Instance Requests",
            Self::Trn => "All Trn Spot Instance Requests",
            Self::X => "All X Spot Instance Requests",
            Self::Dl => "All DL Spot Instance Requests",
        }
    }

    /// The value of an account that never asked for more, in vCPUs.
    pub fn default_vcpus(self) -> u32 {
        match self {
            Self::Standard => 5,
            _ => 0,
        }
    }

    /// The quota of an instance family (`m5`, `p5en`, `im4gn`). `None`: EC2 has no spot quota for it that is known
    /// here, because there is no spot capacity (HPC, Mac, high memory) or because it is too new.
    pub fn of_family(family: &str) -> Option<Self> {
        let (category, generation) = split_family(family)?;
        Self::of_category(category).map(|quotas| match quotas {
            [one] => Some(*one),
            _ if generation <= 4 => Some(Self::P),
            _ if generation == 5 => Some(Self::P5),
            _ => None,
        })?
    }

    /// The quotas of an instance category (`m`, `p`).
    fn of_category(category: &str) -> Option<&'static [Self]> {
        Some(match category {
            "a" | "c" | "d" | "h" | "i" | "im" | "is" | "m" | "r" | "t" | "z" => &[Self::Standard],
            "f" => &[Self::F],
            "g" | "gr" | "vt" => &[Self::GAndVt],
            "inf" => &[Self::Inf],
            "p" => &[Self::P, Self::P5],
            "trn" => &[Self::Trn],
            "x" => &[Self::X],
            "dl" => &[Self::Dl],
            _ => return None,
        })
    }

    /// The vCPUs of the smallest instance type that counts against it.
    fn smallest_vcpus(self) -> u32 {
        match self {
            // t2.nano, m6g.medium, x2gd.medium.
            Self::Standard | Self::X => 1,
            // g6f.large.
            Self::GAndVt => 2,
            // p2.xlarge, inf1.xlarge.
            Self::P | Self::Inf => 4,
            // f1.2xlarge, trn1.2xlarge.
            Self::F | Self::Trn => 8,
            // p5.4xlarge.
            Self::P5 => 16,
            // dl1.24xlarge.
            Self::Dl => 96,
        }
    }
}

impl fmt::Display for SpotQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.code())
    }
}

/// The letters and the number that a family begins with: `p5en` is category `p`, generation 5. The high-memory families
/// are written `u-6tb1`.
fn split_family(family: &str) -> Option<(&str, u32)> {
    let letters = family.find(|c: char| !c.is_ascii_lowercase())?;
    let (category, rest) = family.split_at(letters);
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let generation = rest[..digits].parse().ok();
    match (category, generation) {
        ("", _) => None,
        (category, Some(generation)) => Some((category, generation)),
        ("u", None) => Some(("u", 0)),
        _ => None,
    }
}

/// The vCPUs of an instance type, at least: exact for `large` and above, 1 for smaller ones where that depends on the
/// family. `None` where the name does not tell (`metal`).
pub fn vcpus(instance_type: &str) -> Option<u32> {
    let (family, size) = instance_type.split_once('.')?;
    vcpus_of_size(size).map(|vcpus| match (family, size) {
        // The burstable families have two vCPUs in every size but t2's smallest.
        ("t3" | "t3a" | "t4g", _) => vcpus.max(2),
        ("c4" | "d2", "8xlarge") => 36,
        _ => vcpus,
    })
}

fn vcpus_of_size(size: &str) -> Option<u32> {
    let size = size.strip_prefix("metal-").unwrap_or(size);
    match size {
        "nano" | "micro" | "small" | "medium" => Some(1),
        "large" => Some(2),
        "xlarge" => Some(4),
        _ => {
            let times = size.strip_suffix("xlarge").or_else(|| size.strip_suffix("xl"))?;
            times
                .parse::<u32>()
                .ok()
                .filter(|times| (1..=256).contains(times))
                .map(|times| times * 4)
        }
    }
}

/// The smallest size of families where that is far from the smallest of their quota.
fn smallest_of_family(family: &str) -> Option<u32> {
    Some(match family {
        "p3" => 8,
        "p3dn" | "p4d" | "p4de" => 96,
        "p5e" | "p5en" => 192,
        "g3" | "gr6" => 16,
        "g4dn" | "g4ad" | "g5" | "g5g" | "g6" | "g6e" | "x1e" => 4,
        "vt1" => 12,
        "f2" => 24,
        "trn1n" => 128,
        "x1" | "x2idn" => 64,
        _ => return None,
    })
}

/// What a pool's spot instances count against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaNeed {
    pub quota: SpotQuota,
    /// The vCPUs of the smallest instance that the pool could launch against it, a lower bound: with less, nothing
    /// launches.
    pub smallest_vcpus: u32,
}

/// The spot quotas that matter to a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpotNeeds {
    /// Each quota once.
    pub quotas: Vec<QuotaNeed>,
    /// Families and categories that the pool names and that have no spot quota that is known here. At most 20.
    pub without_quota: Vec<String>,
    /// The pool names no family: Standard is assumed, because Karpenter takes the cheapest that fits.
    pub assumed: bool,
}

/// The groups whose labels describe instances: Karpenter's own and EKS Auto Mode's.
const GROUPS: [&str; 2] = ["karpenter.k8s.aws", "eks.amazonaws.com"];
const CATEGORY: &str = "instance-category";
const FAMILY: &str = "instance-family";
const SIZE: &str = "instance-size";
const CPU: &str = "instance-cpu";
const TYPE: &str = "node.kubernetes.io/instance-type";
/// Labels that only instances with a GPU have.
const GPU: [&str; 4] = [
    "instance-gpu-count",
    "instance-gpu-name",
    "instance-gpu-manufacturer",
    "instance-gpu-memory",
];
/// Labels that only instances with an Inferentia or Trainium chip have.
const ACCELERATOR: [&str; 3] = [
    "instance-accelerator-count",
    "instance-accelerator-name",
    "instance-accelerator-manufacturer",
];
/// The categories that have spot capacity, Standard first.
const CATEGORIES: [&str; 20] = [
    "a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z", "f", "g", "gr", "vt", "inf", "p", "trn", "x",
    "dl",
];
const SIZES: [&str; 17] = [
    "nano", "micro", "small", "medium", "large", "xlarge", "2xlarge", "3xlarge", "4xlarge", "6xlarge",
    "8xlarge", "9xlarge", "12xlarge", "16xlarge", "24xlarge", "32xlarge", "48xlarge",
];

/// Which spot quotas `pool`'s instances count against, and what the smallest instance needs.
pub fn spot_needs(pool: &NodePool) -> SpotNeeds {
    let types = admitted(pool, TYPE);
    let (families, categories) = (described(pool, FAMILY), described(pool, CATEGORY));
    let (sizes, cpus) = (described(pool, SIZE), described(pool, CPU));
    let mut found = Found::default();

    if let Some(list) = types.listed() {
        for name in list {
            let Some((family, size)) = name.split_once('.') else {
                continue;
            };
            let category = split_family(family).map_or("", |(category, _)| category);
            if families.has(family) && categories.has(category) && sizes.has(size) {
                let named = vcpus(name);
                // Below `large` the name gives a lower bound only, which proves nothing against it.
                if named.is_none_or(|vcpus| vcpus <= 2 || cpus.has(&vcpus.to_string())) {
                    found.family(family, named.or_else(|| smallest_of_family(family)));
                }
            }
        }
        return found.finish(false);
    }

    let by_size = smallest_by_size(&sizes);
    if let Some(list) = families.listed() {
        for family in list {
            let category = split_family(family).map_or("", |(category, _)| category);
            if categories.has(category) {
                found.family(family, smallest_of_family(family).max(by_size));
            }
        }
        found.raise(&cpus);
        return found.finish(false);
    }

    let (gpu, accelerator) = (needs_any(pool, &GPU), needs_any(pool, &ACCELERATOR));
    let listed = categories.listed().is_some();
    let mut open: Vec<&str> = match categories.listed() {
        Some(list) => list.iter().map(String::as_str).collect(),
        None => CATEGORIES
            .into_iter()
            .filter(|category| categories.has(category))
            .collect(),
    };
    open.retain(|category| match *category {
        "g" | "gr" | "p" | "dl" => !accelerator,
        "inf" | "trn" => !gpu,
        _ => !gpu && !accelerator,
    });
    // An open choice: Karpenter takes the cheapest that fits, which is a Standard type unless a pod asks for a device.
    let standard = |category: &&str| SpotQuota::of_category(category) == Some(&[SpotQuota::Standard]);
    let assumed = !listed && open.iter().any(standard);
    if assumed {
        open.retain(|category| standard(category));
    }
    for category in open {
        found.category(category, by_size);
    }
    found.raise(&cpus);
    found.finish(assumed)
}

/// What the pool admits for a label that describes instances, in either group.
fn described(pool: &NodePool, label: &str) -> ValueSet {
    GROUPS
        .iter()
        .map(|group| admitted(pool, &format!("{group}/{label}")))
        .fold(ValueSet::any(), |all, one| all.intersection(&one))
}

/// Whether the pool refuses instances without one of these labels.
fn needs_any(pool: &NodePool, labels: &[&str]) -> bool {
    labels
        .iter()
        .flat_map(|label| GROUPS.iter().map(move |group| format!("{group}/{label}")))
        .any(|label| {
            pool.requirements
                .iter()
                .any(|requirement| requirement.key == label)
                && admitted(pool, &label).needs_the_label()
        })
}

/// The vCPUs of the smallest size that is admitted, where sizes are restricted.
fn smallest_by_size(sizes: &ValueSet) -> Option<u32> {
    match sizes.listed() {
        // One size whose vCPUs are not in its name (`metal`) leaves the question open.
        Some(list) => list
            .iter()
            .map(|size| vcpus_of_size(size))
            .collect::<Option<Vec<u32>>>()?
            .into_iter()
            .min(),
        None => SIZES
            .into_iter()
            .find(|size| sizes.has(size))
            .and_then(vcpus_of_size),
    }
}

#[derive(Default)]
struct Found {
    quotas: BTreeMap<SpotQuota, u32>,
    without: BTreeSet<String>,
}

impl Found {
    fn quota(&mut self, quota: SpotQuota, at_least: Option<u32>) {
        let vcpus = quota.smallest_vcpus().max(at_least.unwrap_or(0));
        let entry = self.quotas.entry(quota).or_insert(vcpus);
        *entry = (*entry).min(vcpus);
    }

    fn family(&mut self, family: &str, at_least: Option<u32>) {
        match SpotQuota::of_family(family) {
            Some(quota) => self.quota(quota, at_least),
            None => self.without(family),
        }
    }

    fn category(&mut self, category: &str, at_least: Option<u32>) {
        match SpotQuota::of_category(category) {
            Some(quotas) => quotas.iter().for_each(|quota| self.quota(*quota, at_least)),
            None => self.without(category),
        }
    }

    fn without(&mut self, name: &str) {
        if self.without.len() < 20 {
            self.without.insert(super::json::clip(name));
        }
    }

    /// Raises the counts to the smallest number of vCPUs that the pool admits.
    fn raise(&mut self, cpus: &ValueSet) {
        for vcpus in self.quotas.values_mut() {
            if let Some(least) = cpus.smallest_integer(i64::from(*vcpus)) {
                *vcpus = u32::try_from(least).unwrap_or(u32::MAX);
            }
        }
    }

    fn finish(self, assumed: bool) -> SpotNeeds {
        SpotNeeds {
            quotas: self
                .quotas
                .into_iter()
                .map(|(quota, smallest_vcpus)| QuotaNeed {
                    quota,
                    smallest_vcpus,
                })
                .collect(),
            without_quota: self.without.into_iter().collect(),
            assumed,
        }
    }
}

/// The needs of several pools together: each quota once, with the smallest instance of any pool.
pub fn spot_needs_of<'a>(pools: impl IntoIterator<Item = &'a NodePool>) -> SpotNeeds {
    let mut found = Found::default();
    let mut assumed = false;
    for pool in pools {
        let needs = spot_needs(pool);
        assumed |= needs.assumed;
        for need in needs.quotas {
            found.quota(need.quota, Some(need.smallest_vcpus));
        }
        needs.without_quota.iter().for_each(|name| found.without(name));
    }
    found.finish(assumed)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Key (in Karpenter's group where it names none), operator, values.
    type Requirements<'a> = &'a [(&'a str, &'a str, &'a [&'a str])];

    fn pool(requirements: Requirements<'_>) -> NodePool {
        let requirements: Vec<Value> = requirements
            .iter()
            .map(|(key, operator, values)| {
                let key = if key.contains('/') {
                    (*key).to_owned()
                } else {
                    format!("karpenter.k8s.aws/instance-{key}")
                };
                json!({"key": key, "operator": operator, "values": values})
            })
            .collect();
        let item = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "p"},
            "spec": {"template": {"spec": {"requirements": requirements}}}
        });
        NodePool::from_json(&item, None).expect("a good pool")
    }

    fn short(needs: &SpotNeeds) -> String {
        let mut parts: Vec<String> = needs
            .quotas
            .iter()
            .map(|need| format!("{:?} {}", need.quota, need.smallest_vcpus))
            .collect();
        if needs.assumed {
            parts.push("assumed".to_owned());
        }
        if !needs.without_quota.is_empty() {
            parts.push(format!("without: {}", needs.without_quota.join(" ")));
        }
        parts.join(", ")
    }

    #[test]
    fn quotas_of_families() {
        use SpotQuota::{Dl, F, GAndVt, Inf, P, P5, Standard, Trn, X};
        for (quota, families) in [
            (Some(Standard), "m5 c7gn im4gn is4gen i7ie z1d m7i-flex"),
            (Some(GAndVt), "g6e gr6 vt1"),
            (Some(P), "p4de"),
            (Some(P5), "p5en"),
            (Some(Inf), "inf2"),
            (Some(Trn), "trn1n"),
            (Some(X), "x2iedn"),
            (Some(Dl), "dl2q"),
            (Some(F), "f2"),
            (
                None,
                "p6-b200 hpc7g mac2-m2 u-6tb1 u7i-12tb M5 m m99999999999999999999 ü1",
            ),
        ] {
            for family in families.split(' ') {
                assert_eq!(SpotQuota::of_family(family), quota, "{family}");
            }
        }
        assert_eq!(SpotQuota::of_family(""), None);
        let codes: BTreeSet<_> = SpotQuota::ALL.iter().map(|quota| quota.code()).collect();
        assert_eq!(codes.len(), SpotQuota::ALL.len());
    }

    #[test]
    fn vcpus_of_instance_types() {
        let cases = [
            ("t2.nano", Some(1)),
            ("t3.nano", Some(2)),
            ("m6g.medium", Some(1)),
            ("m5.large", Some(2)),
            ("m5.xlarge", Some(4)),
            ("m5.24xlarge", Some(96)),
            ("c4.8xlarge", Some(36)),
            ("p5.48xlarge", Some(192)),
            ("c7i.metal-24xl", Some(96)),
            ("m5.metal", None),
            ("m5", None),
            ("m5.0xlarge", None),
            ("m5.4294967295xlarge", None),
        ];
        for (name, expected) in cases {
            assert_eq!(vcpus(name), expected, "{name}");
        }
    }

    #[test]
    fn quotas_of_pools() {
        const TYPES: &str = "node.kubernetes.io/instance-type";
        const MIXED: &[&str] = &["m5.xlarge", "c5.2xlarge"];
        const SMALL: &[&str] = &["nano", "micro", "small", "medium", "large"];
        const AUTO: &str = "eks.amazonaws.com/instance-category";
        let cmr = ("category", "In", &["c", "m", "r"][..]);
        let g5_m5 = ("family", "In", &["g5", "m5"][..]);
        let m5_c5 = ("family", "In", &["m5", "c5"][..]);
        let odd: &[&str] = &["p6-b200.48xlarge", "rubbish"];
        let cases: [(Requirements<'_>, &str); 20] = [
            (&[], "Standard 1, assumed"),
            (&[cmr, ("generation", "Gt", &["2"])], "Standard 1"),
            (&[("category", "NotIn", &["t"])], "Standard 1, assumed"),
            (&[("category", "In", &["g"])], "GAndVt 2"),
            (&[("category", "In", &["p"])], "P 4, P5 16"),
            (&[("category", "In", &["m", "hpc"])], "Standard 1, without: hpc"),
            (&[g5_m5], "Standard 1, GAndVt 4"),
            (&[g5_m5, ("category", "NotIn", &["m"])], "GAndVt 4"),
            (&[("family", "In", &["p5en"])], "P5 192"),
            (&[m5_c5, ("cpu", "In", &["8", "16"])], "Standard 8"),
            (&[("cpu", "Gt", &["7"])], "Standard 8, assumed"),
            (&[("size", "NotIn", SMALL)], "Standard 4, assumed"),
            (&[("size", "In", &["metal"])], "Standard 1, assumed"),
            (&[(TYPES, "In", MIXED)], "Standard 4"),
            (
                &[(TYPES, "In", MIXED), ("size", "In", &["2xlarge"])],
                "Standard 8",
            ),
            (&[(TYPES, "In", MIXED), ("cpu", "Gt", &["4"])], "Standard 8"),
            (&[(TYPES, "In", odd)], "without: p6-b200"),
            (&[("gpu-count", "Gt", &["0"])], "GAndVt 2, P 4, P5 16, Dl 96"),
            (&[("gpu-count", "DoesNotExist", &[])], "Standard 1, assumed"),
            (&[(AUTO, "In", &["trn"])], "Trn 8"),
        ];
        for (requirements, expected) in cases {
            assert_eq!(
                short(&spot_needs(&pool(requirements))),
                expected,
                "{requirements:?}"
            );
        }
        let together = spot_needs_of(&[
            pool(&[("family", "In", &["m5"]), ("cpu", "Gte", &["8"])]),
            pool(&[("family", "In", &["c5"]), ("cpu", "Gte", &["4"])]),
            pool(&[("category", "In", &["inf"])]),
        ]);
        assert_eq!(short(&together), "Standard 4, Inf 4");
    }
}
