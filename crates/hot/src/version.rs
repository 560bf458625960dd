//! Template versions and the functions that are valid in each.
//! Reference: "Heat Orchestration Template (HOT) specification", section on template versions.
use crate::expr::Function;

/// A `heat_template_version`; later ones compare greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V2013_05_23,
    V2014_10_16,
    V2015_04_30,
    V2015_10_15,
    V2016_04_08,
    V2016_10_14,
    V2017_02_24,
    V2017_09_01,
    V2018_03_02,
    V2018_08_31,
    V2021_04_16,
}

/// Every spelling of a version that a template may carry.
pub const VERSION_NAMES: &[(&str, Version)] = &[
    ("2013-05-23", Version::V2013_05_23),
    ("2014-10-16", Version::V2014_10_16),
    ("2015-04-30", Version::V2015_04_30),
    ("2015-10-15", Version::V2015_10_15),
    ("2016-04-08", Version::V2016_04_08),
    ("2016-10-14", Version::V2016_10_14),
    ("newton", Version::V2016_10_14),
    ("2017-02-24", Version::V2017_02_24),
    ("ocata", Version::V2017_02_24),
    ("2017-09-01", Version::V2017_09_01),
    ("pike", Version::V2017_09_01),
    ("2018-03-02", Version::V2018_03_02),
    ("queens", Version::V2018_03_02),
    ("2018-08-31", Version::V2018_08_31),
    ("rocky", Version::V2018_08_31),
    ("2021-04-16", Version::V2021_04_16),
    ("wallaby", Version::V2021_04_16),
];

impl Version {
    /// The version of this name or date.
    pub fn named(name: &str) -> Option<Version> {
        VERSION_NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, version)| *version)
    }

    /// Whether templates of this version may use `function`.
    pub fn knows(self, function: Function) -> bool {
        self >= since(function)
    }

    /// Whether `conditions:` and `condition:` are part of the language.
    pub fn has_conditions(self) -> bool {
        self >= Version::V2016_10_14
    }

    /// Whether `if` may leave out its last value.
    pub fn if_may_omit_else(self) -> bool {
        self >= Version::V2021_04_16
    }
}

/// The first version with `function`.
pub fn since(function: Function) -> Version {
    use Function::*;
    match function {
        GetParam | GetResource | GetAttr | GetFile | StrReplace | ListJoin | ResourceFacade => {
            Version::V2013_05_23
        }
        Repeat | Digest => Version::V2015_04_30,
        StrSplit => Version::V2015_10_15,
        MapMerge => Version::V2016_04_08,
        MapReplace | If | Equals | Not | And | Or => Version::V2016_10_14,
        Filter | StrReplaceStrict => Version::V2017_02_24,
        StrReplaceVstrict | MakeUrl | ListConcat | ListConcatUnique | Contains => {
            Version::V2017_09_01
        }
    }
}
