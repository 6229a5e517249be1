//! Which packages a set needs: Debian's dependency rules laid before a SAT solver.
//!
//! Every package of every architecture is a candidate for the name `package:architecture`; packages for all
//! architectures count as the set's own. A relation becomes the list of candidates that satisfy it, in order of
//! preference: the package itself before what provides it, the newest version first.

use std::{
    cell::{OnceCell, RefCell},
    collections::{BTreeSet, HashMap},
    fmt,
};

use debversion::Version;
use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, Dependencies, DependencyProvider,
    HintDependenciesAvailable, Interner, KnownDependencies, NameId, Problem, Requirement, SolvableId, Solver,
    SolverCache, StringId, UnsolvableOrCancelled, VersionSetId, VersionSetUnionId,
    utils::{Pool, VersionSet},
};

use crate::{
    index::{MultiArch, Record},
    nearest,
    relation::{self, Atom},
    spec::{SetSpec, Wish},
};
use pilotlight_fetch::Digest;

/// Why a set of packages cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// No index has the package.
    #[error("there is no package {wish} in {}{hint}", .suites.join(", "))]
    Unknown {
        /// What was asked for.
        wish: String,
        /// The suites that were looked at.
        suites: Vec<String>,
        /// The nearest spelling, ready to be printed.
        hint: String,
    },
    /// The packages exclude each other, or something that they need is missing.
    #[error("the packages do not fit together:\n{0}")]
    Conflict(String),
}

/// Candidates that are taken before newer ones wherever they fit: those that are locked already.
#[derive(Debug, Default)]
pub(crate) struct Favoured {
    /// In this very set.
    pub(crate) own: BTreeSet<Digest>,
    /// In any set.
    pub(crate) others: BTreeSet<Digest>,
}

/// Picks the packages of `set` out of `records`; indexes into `records`, sorted by name, architecture, version.
pub(crate) fn solve(
    set: &SetSpec,
    records: &[Record<'_>],
    favoured: &Favoured,
) -> Result<Vec<usize>, SolveError> {
    let universe = Universe::new(set, records, favoured);
    let mut roots = Vec::new();
    for wish in set.packages.iter().chain(&set.alone) {
        roots.push(universe.wish(wish)?);
    }
    roots.extend(universe.essentials());
    let mut solver = Solver::new(universe);
    let problem = Problem::new().requirements(roots.into_iter().map(conditional).collect());
    let solution = match solver.solve(problem) {
        Ok(solution) => solution,
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
            return Err(SolveError::Conflict(
                conflict.display_user_friendly(&solver).to_string().trim_end().to_owned(),
            ));
        }
        Err(UnsolvableOrCancelled::Cancelled(_)) => {
            return Err(SolveError::Conflict("the search was cancelled".into()));
        }
    };
    let provider = solver.provider();
    let mut chosen: Vec<usize> = solution.into_iter().map(|solvable| provider.record_of(solvable)).collect();
    chosen.sort_by_key(|index| {
        let record = &records[*index];
        (record.package, record.architecture, record.version)
    });
    Ok(chosen)
}

fn conditional(requirement: Requirement) -> ConditionalRequirement {
    ConditionalRequirement { condition: None, requirement }
}

/// A set of candidates of one name, by their index; `shown` is how a message calls it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Allowed {
    records: Vec<usize>,
    shown: String,
}

/// What candidates go by.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Name<'t> {
    /// For messages.
    shown: String,
    /// Package and architecture. None for a relation that nothing satisfies: it must not pass for the package that
    /// it names, which other versions of may be there.
    package: Option<(&'t str, &'t str)>,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.shown)
    }
}

/// A candidate: its index into the records and its version for messages.
struct Candidate {
    record: usize,
    version: String,
}

impl VersionSet for Allowed {
    type V = Candidate;
}

impl fmt::Display for Candidate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.version)
    }
}

struct Universe<'t> {
    set: &'t SetSpec,
    records: &'t [Record<'t>],
    favoured: &'t Favoured,
    versions: Vec<OnceCell<Option<Version>>>,
    /// Records by package name.
    by_name: HashMap<&'t str, Vec<usize>>,
    /// Records that provide a name, with the version at which they do.
    providers: HashMap<&'t str, Vec<(usize, Option<&'t str>)>>,
    alone: BTreeSet<(&'t str, &'t str)>,
    pool: Pool<Allowed, Name<'t>>,
    solvables: RefCell<HashMap<usize, SolvableId>>,
}

impl<'t> Universe<'t> {
    fn new(set: &'t SetSpec, records: &'t [Record<'t>], favoured: &'t Favoured) -> Self {
        let own = set.own_architecture();
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut providers: HashMap<&str, Vec<(usize, Option<&str>)>> = HashMap::new();
        for (index, record) in records.iter().enumerate() {
            let same = by_name.entry(record.package).or_default();
            // One package can stand in several suites and, when it is for all architectures, in several indexes.
            let twin = |other: &usize| {
                let other: &Record<'_> = &records[*other];
                other.version == record.version && other.architecture == record.architecture
            };
            if same.iter().any(twin) {
                continue;
            }
            same.push(index);
            for atom in relation::parse(record.provides).flatten() {
                let version = atom.version.map(|(_, version)| version);
                providers.entry(atom.name).or_default().push((index, version));
            }
        }
        let alone =
            set.alone.iter().map(|wish| (wish.name.as_str(), wish.architecture.as_deref().unwrap_or(own)));
        Self {
            alone: alone.collect(),
            set,
            records,
            favoured,
            versions: records.iter().map(|_| OnceCell::new()).collect(),
            by_name,
            providers,
            pool: Pool::new(),
            solvables: RefCell::default(),
        }
    }

    /// The architecture that a record counts as.
    fn architecture(&self, record: usize) -> &'t str {
        match self.records[record].architecture {
            "all" => self.set.own_architecture(),
            other => other,
        }
    }

    fn version(&self, record: usize) -> Option<&Version> {
        self.versions[record].get_or_init(|| self.records[record].version.parse().ok()).as_ref()
    }

    fn named(&self, name: &str) -> &[usize] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    fn wish(&self, wish: &Wish) -> Result<Requirement, SolveError> {
        let architecture = wish.architecture.as_deref().unwrap_or(self.set.own_architecture());
        let fits = |record: &usize| self.architecture(*record) == architecture;
        let records: Vec<usize> = self.named(&wish.name).iter().copied().filter(fits).collect();
        if records.is_empty() {
            let mut known: Vec<&str> = self.by_name.keys().copied().collect();
            known.sort_unstable();
            let hint =
                nearest::hint(&wish.name, known.into_iter().filter(|name| self.named(name).iter().any(fits)));
            return Err(SolveError::Unknown {
                wish: wish.to_string(),
                suites: self.set.suites.iter().map(ToString::to_string).collect(),
                hint,
            });
        }
        Ok(self.requirement(&[records], &wish.to_string(), ""))
    }

    fn essentials(&self) -> Vec<Requirement> {
        let own = |record: &usize| {
            self.records[*record].essential && self.architecture(*record) == self.set.own_architecture()
        };
        let mut names: Vec<&str> =
            if self.set.essential { self.by_name.keys().copied().collect() } else { Vec::new() };
        names.retain(|name| self.named(name).iter().any(own));
        names.sort_unstable();
        let require =
            |name| self.requirement(&[self.named(name).iter().copied().filter(own).collect()], name, "");
        names.into_iter().map(require).collect()
    }

    fn is_provided_by_builder(&self, atom: &Atom<'_>) -> bool {
        self.set.provided.iter().any(|provided| provided.name == atom.name)
    }

    /// Records that satisfy a dependency of `of`, best first.
    fn satisfying(&self, atom: &Atom<'t>, of: usize) -> Vec<usize> {
        let from = self.architecture(of);
        let reaches = |record: usize| match (atom.qualifier, self.records[record].multi_arch) {
            (None, MultiArch::Foreign) | (Some("any"), MultiArch::Allowed | MultiArch::Foreign) => true,
            (None | Some("any"), _) => self.architecture(record) == from,
            (Some("native"), _) => self.architecture(record) == self.set.own_architecture(),
            (Some(named), _) => self.architecture(record) == named,
        };
        let versioned = |record: &usize| {
            atom.version.is_none_or(|wanted| relation::satisfies(self.version(*record), wanted))
        };
        let itself =
            self.named(atom.name).iter().copied().filter(|record| reaches(*record)).filter(versioned);
        let provides =
            |(record, version): &(usize, Option<&str>)| reaches(*record) && self.provides(*version, atom);
        let providers = self.providers.get(atom.name).into_iter().flatten().filter(|entry| provides(entry));
        let mut providers: Vec<usize> = providers.map(|(record, _)| *record).collect();
        providers.sort_by_key(|record| (self.records[*record].priority, self.records[*record].package));
        let mut found: Vec<usize> = itself.chain(providers).collect();
        let mut seen = BTreeSet::new();
        found.retain(|record| seen.insert(*record));
        let rank = |record: &usize| {
            self.set.architectures.iter().position(|name| name == self.architecture(*record))
        };
        found.sort_by_key(rank);
        found
    }

    /// Whether a provision at `version` meets the atom: a versioned relation needs a versioned provision.
    fn provides(&self, version: Option<&str>, atom: &Atom<'_>) -> bool {
        atom.version.is_none_or(|wanted| {
            let version = version.and_then(|version| version.parse::<Version>().ok());
            relation::satisfies(version.as_ref(), wanted)
        })
    }

    /// Records that a conflict of `of` forbids beside it.
    fn forbidden(&self, atom: &Atom<'t>, of: usize) -> Vec<usize> {
        let fits = |record: usize| match atom.qualifier {
            None | Some("any") => true,
            Some("native") => self.architecture(record) == self.set.own_architecture(),
            Some(named) => self.architecture(record) == named,
        };
        let own_name = self.records[of].package;
        let versioned = |record: &usize| {
            atom.version.is_none_or(|wanted| relation::satisfies(self.version(*record), wanted))
        };
        // A package that conflicts with its own name does so with other providers, not with its other versions.
        let itself = self.named(atom.name).iter().copied().filter(versioned);
        let providers = self.providers.get(atom.name).into_iter().flatten();
        let providers =
            providers.filter(|(_, version)| self.provides(*version, atom)).map(|(record, _)| *record);
        itself
            .chain(providers)
            .filter(|record| fits(*record) && self.records[*record].package != own_name)
            .collect()
    }

    fn solvable(&self, record: usize) -> SolvableId {
        if let Some(known) = self.solvables.borrow().get(&record) {
            return *known;
        }
        let name = self.name(self.records[record].package, self.architecture(record));
        let version = self.records[record].version.to_owned();
        let solvable = self.pool.intern_solvable(name, Candidate { record, version });
        self.solvables.borrow_mut().insert(record, solvable);
        solvable
    }

    fn name(&self, package: &'t str, architecture: &'t str) -> NameId {
        let shown = if architecture == self.set.own_architecture() {
            package.to_owned()
        } else {
            format!("{package}:{architecture}")
        };
        self.pool.intern_package_name(Name { shown, package: Some((package, architecture)) })
    }

    fn record_of(&self, solvable: SolvableId) -> usize {
        self.pool.resolve_solvable(solvable).record.record
    }

    /// One requirement out of the alternatives' candidates; `name` and `version` for the message about it.
    fn requirement(&self, alternatives: &[Vec<usize>], name: &str, version: &str) -> Requirement {
        let mut sets: Vec<VersionSetId> = Vec::new();
        for candidates in alternatives {
            let mut rest = candidates.as_slice();
            while let Some(first) = rest.first() {
                let key = (self.records[*first].package, self.architecture(*first));
                let same =
                    |record: &&usize| (self.records[**record].package, self.architecture(**record)) == key;
                let count = rest.iter().take_while(same).count();
                sets.push(self.allow(key, rest[..count].to_vec(), version));
                rest = &rest[count..];
            }
        }
        match sets.split_first() {
            // Nothing satisfies it: a name without candidates says so in the solver's own words.
            None => {
                let name = self.pool.intern_package_name(Name { shown: name.to_owned(), package: None });
                self.pool
                    .intern_version_set(name, Allowed { records: Vec::new(), shown: version.into() })
                    .into()
            }
            Some((only, [])) => (*only).into(),
            Some((first, others)) => {
                self.pool.intern_version_set_union(*first, others.iter().copied()).into()
            }
        }
    }

    fn allow(
        &self,
        (package, architecture): (&'t str, &'t str),
        mut records: Vec<usize>,
        shown: &str,
    ) -> VersionSetId {
        records.sort_unstable();
        self.pool
            .intern_version_set(self.name(package, architecture), Allowed { records, shown: shown.into() })
    }

    fn requirements_of(&self, record: usize) -> Vec<ConditionalRequirement> {
        if self.alone.contains(&(self.records[record].package, self.architecture(record))) {
            return Vec::new();
        }
        let groups = self.records[record].depends.into_iter().flat_map(relation::parse);
        let asked = groups.filter(|group| !group.iter().any(|atom| self.is_provided_by_builder(atom)));
        asked
            .map(|group| {
                let alternatives: Vec<_> = group.iter().map(|atom| self.satisfying(atom, record)).collect();
                let names: Vec<_> = group.iter().map(|atom| atom.name).collect();
                let version = match &group[..] {
                    [Atom { version: Some((operator, version)), .. }] => format!("{operator} {version}"),
                    _ => String::new(),
                };
                conditional(self.requirement(&alternatives, &names.join(" | "), &version))
            })
            .collect()
    }

    fn constraints_of(&self, record: usize) -> Vec<VersionSetId> {
        let mut constraints = Vec::new();
        for atom in self.records[record].conflicts.into_iter().flat_map(relation::parse).flatten() {
            let mut forbidden: HashMap<(&str, &str), BTreeSet<usize>> = HashMap::new();
            for other in self.forbidden(&atom, record) {
                let key = (self.records[other].package, self.architecture(other));
                forbidden.entry(key).or_default().insert(other);
            }
            let mut forbidden: Vec<_> = forbidden.into_iter().collect();
            forbidden.sort();
            for ((package, architecture), others) in forbidden {
                let rest =
                    self.candidates(package, architecture).filter(|other| !others.contains(other)).collect();
                let shown = atom
                    .version
                    .map_or_else(|| "none".into(), |(operator, version)| format!("not {operator} {version}"));
                constraints.push(self.allow((package, architecture), rest, &shown));
            }
        }
        constraints.extend(self.lockstep(record));
        constraints
    }

    /// A package stands beside its own name in another architecture only when both are made for it and have the
    /// same version.
    fn lockstep(&self, record: usize) -> Vec<VersionSetId> {
        let own = &self.records[record];
        let others = self.set.architectures.iter().filter(|other| *other != self.architecture(record));
        let constrained = others.filter(|other| self.candidates(own.package, other).next().is_some());
        constrained
            .map(|other| {
                let twin = |twin: &usize| {
                    let both = [own.multi_arch, self.records[*twin].multi_arch] == [MultiArch::Same; 2];
                    both && self.records[*twin].version == own.version
                };
                let twins = self.candidates(own.package, other).filter(twin).collect();
                self.allow((own.package, other), twins, &format!("= {}", own.version))
            })
            .collect()
    }

    fn candidates(&self, package: &str, architecture: &str) -> impl Iterator<Item = usize> {
        self.named(package).iter().copied().filter(move |record| self.architecture(*record) == architecture)
    }
}

impl Interner for Universe<'_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl fmt::Display + '_ {
        let solvable = self.pool.resolve_solvable(solvable);
        format!("{} {}", self.pool.resolve_package_name(solvable.name), solvable.record)
    }

    fn display_merged_solvables(&self, solvables: &[SolvableId]) -> impl fmt::Display + '_ {
        let Some(first) = solvables.first() else { return String::new() };
        let versions: BTreeSet<_> =
            solvables.iter().map(|one| &self.pool.resolve_solvable(*one).record.version).collect();
        let versions: Vec<_> = versions.into_iter().map(String::as_str).collect();
        let name = self.pool.resolve_package_name(self.pool.resolve_solvable(*first).name);
        format!("{name} {}", versions.join(" or "))
    }

    fn display_name(&self, name: NameId) -> impl fmt::Display + '_ {
        self.pool.resolve_package_name(name)
    }

    fn display_version_set(&self, version_set: VersionSetId) -> impl fmt::Display + '_ {
        &self.pool.resolve_version_set(version_set).shown
    }

    fn display_string(&self, string: StringId) -> impl fmt::Display + '_ {
        self.pool.resolve_string(string)
    }

    fn version_set_name(&self, version_set: VersionSetId) -> NameId {
        self.pool.resolve_version_set_package_name(version_set)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        self.pool.resolve_solvable(solvable).name
    }

    fn version_sets_in_union(&self, union: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        self.pool.resolve_version_set_union(union)
    }

    fn resolve_condition(&self, condition: ConditionId) -> Condition {
        // Debian has no conditional dependencies: no condition is ever made, so none is ever asked for.
        self.pool.resolve_condition(condition).clone()
    }
}

impl DependencyProvider for Universe<'_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let allowed = &self.pool.resolve_version_set(set).records;
        let keep =
            |solvable: &SolvableId| allowed.binary_search(&self.record_of(*solvable)).is_ok() != inverse;
        candidates.iter().copied().filter(keep).collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates> {
        let (package, architecture) = self.pool.resolve_package_name(name).package?;
        let among = |digests: &BTreeSet<Digest>| {
            self.candidates(package, architecture)
                .find(|record| digests.contains(&self.records[*record].sha256))
        };
        let favoured = among(&self.favoured.own).or_else(|| among(&self.favoured.others));
        Some(Candidates {
            candidates: self.candidates(package, architecture).map(|record| self.solvable(record)).collect(),
            favored: favoured.map(|record| self.solvable(record)),
            hint_dependencies_available: HintDependenciesAvailable::None,
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        solvables.sort_by(|one, other| {
            let (one, other) = (self.record_of(*one), self.record_of(*other));
            self.version(other).cmp(&self.version(one)).then(one.cmp(&other))
        });
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let record = self.record_of(solvable);
        Dependencies::Known(KnownDependencies {
            requirements: self.requirements_of(record),
            constrains: self.constraints_of(record),
        })
    }
}

#[cfg(test)]
#[path = "solve_tests.rs"]
mod tests;
