//! Two versions of segments that ran in one program, compared: who is in both, and who only in one of them.

use std::collections::BTreeSet;

use cohort_compiler::Program;
use cohort_compiler::versions::older;
use cohort_connectors::moves::Moved;
use cohort_engine::Partition;
use cohort_engine::membership::Member;
use serde::Serialize;
use utoipa::ToSchema;

/// Users that are named as examples.
const SAMPLE: usize = 20;

/// Users that differ.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = ComparedUsers)]
pub struct Users {
    /// How many.
    pub count: u64,
    /// The first of them by their ids, at most 20.
    pub sample: BTreeSet<String>,
}

/// A version of a segment.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
#[schema(as = ComparedVersion)]
pub struct Version {
    /// Members at the end.
    pub members: u64,
    /// How often users entered over the run.
    pub entered: u64,
    /// How often they exited.
    pub exited: u64,
}

/// What becomes of a segment when its newer version takes the place of the older.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// The segment.
    pub segment: String,
    /// The older version; none, where the segment is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Version>,
    /// The newer version; none, where the segment is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Version>,
    /// Members by both.
    pub both: u64,
    /// Members by the newer alone.
    pub would_enter: Users,
    /// Members by the older alone.
    pub would_leave: Users,
}

/// Compares the members of partitions, one after the other.
pub struct Comparison {
    compared: Vec<Compared>,
    /// For each segment of the program, its place in `compared` and the segment that is its other version.
    places: Vec<Option<(usize, Option<u32>)>>,
    older: Vec<bool>,
}

impl Users {
    fn add(&mut self, user: &str) {
        self.count += 1;
        if self.sample.len() < SAMPLE || self.sample.last().is_some_and(|last| user < last.as_str()) {
            self.sample.insert(user.to_string());
            if self.sample.len() > SAMPLE {
                self.sample.pop_last();
            }
        }
    }
}

impl Comparison {
    /// Nobody yet, of all segments of which `wanted` holds.
    pub fn new(program: &Program, wanted: impl Fn(&str) -> bool) -> Self {
        let find = |name: &str, is_older: bool| program.segments.iter().position(|s| s.older == is_older && s.name == name);
        let (mut compared, mut places) = (vec![], vec![None; program.segments.len()]);
        let mut add = |name: &str, newer: Option<usize>, old: Option<usize>| {
            for (at, other) in [(newer, old), (old, newer)].into_iter().filter_map(|(at, other)| Some((at?, other))) {
                places[at] = Some((compared.len(), other.map(|o| o as u32)));
            }
            let version = |there: Option<usize>| there.map(|_| Version::default());
            compared.push(Compared { segment: name.into(), before: version(old), after: version(newer), ..Compared::default() });
        };
        for (i, s) in program.segments.iter().enumerate().filter(|(_, s)| !s.hidden && !s.older && wanted(&s.name)) {
            add(&s.name, Some(i), find(&older(&s.name), true));
        }
        for (i, s) in program.segments.iter().enumerate().filter(|(_, s)| !s.hidden && s.older) {
            let name = original(&s.name);
            if find(name, false).is_none() && wanted(name) {
                add(name, None, Some(i));
            }
        }
        Comparison { compared, places, older: program.segments.iter().map(|s| s.older).collect() }
    }

    /// Takes the members of a partition; hands those that differ to `each`: segment, user, membership, and whether
    /// they would enter.
    pub fn add(&mut self, partition: &Partition, mut each: impl FnMut(&str, &str, &Member, bool)) {
        let members = partition.membership();
        for (segment, user, member) in members.iter() {
            let Some((place, other)) = self.places[segment as usize] else { continue };
            let (compared, is_older) = (&mut self.compared[place], self.older[segment as usize]);
            let version = if is_older { &mut compared.before } else { &mut compared.after };
            version.iter_mut().for_each(|v| v.members += 1);
            let in_other = other.is_some_and(|other| members.get(other, user).is_some());
            if in_other {
                compared.both += u64::from(!is_older);
                continue;
            }
            let name = partition.users().name(user);
            if is_older {
                compared.would_leave.add(name)
            } else {
                compared.would_enter.add(name)
            }
            each(&compared.segment, name, &member, !is_older);
        }
    }

    /// Notes who entered and exited, by segment of the program, and ends.
    pub fn finish(mut self, moves: &[Moved]) -> Vec<Compared> {
        for ((place, is_older), moved) in self.places.iter().zip(&self.older).zip(moves) {
            let Some((place, _)) = place else { continue };
            let compared = &mut self.compared[*place];
            let version = if *is_older { &mut compared.before } else { &mut compared.after };
            for v in version.iter_mut() {
                (v.entered, v.exited) = (v.entered + moved.entered, v.exited + moved.exited);
            }
        }
        self.compared
    }
}

/// What an older version is called among its own.
fn original(name: &str) -> &str {
    name.strip_suffix(&older("")).unwrap_or(name)
}
