//! What a run was told to read → what it reads, in order.

use std::path::Path;

use super::list::{self, Location};
use super::{Object, Reading, Tally};
use crate::error::ConnectorError;
use crate::file::source::Origin;

/// What is read.
#[derive(Default)]
pub struct Plan {
    /// In order.
    pub origins: Vec<Origin>,
    /// URLs of what is below the prefixes and no file of events.
    pub left_out: Vec<String>,
    /// Objects that are read by name, as no folder says their time or as too many have the same.
    pub by_name: u64,
}

/// Finds what is to be read. `-` and files that are named come in the order given; what lies below prefixes, folders and
/// patterns that follow one another is put in order together. `slack` is by how many ms events may lie outside the time
/// that their folder says.
///
/// # Errors
/// When a store does not answer, or there is nothing at a place.
pub fn plan(inputs: &[String], reading: &Reading, slack: i64) -> Result<Plan, ConnectorError> {
    let (mut plan, mut pool) = (Plan::default(), vec![]);
    for input in inputs {
        if input == "-" || (Path::new(input).is_file() && !input.to_ascii_lowercase().ends_with(".parquet")) {
            plan.add(&mut pool, reading, slack);
            plan.origins.push(Origin::File(input.into()));
            continue;
        }
        let mut found = Location::parse(input)?.list(&reading.runtime)?;
        plan.left_out.append(&mut found.left_out);
        if found.is_named {
            plan.add(&mut pool, reading, slack);
            plan.add(&mut found.objects, reading, slack);
        } else {
            pool.append(&mut found.objects);
        }
    }
    plan.add(&mut pool, reading, slack);
    Tally::add(&reading.tally.left_out, plan.left_out.len() as u64);
    Ok(plan)
}

impl Plan {
    fn add(&mut self, objects: &mut Vec<Object>, reading: &Reading, slack: i64) {
        let objects = list::prune(std::mem::take(objects), &reading.between, slack, &reading.tally);
        self.by_name += objects.iter().filter(|o| o.times.is_none()).count() as u64;
        Tally::add(&reading.tally.objects, objects.len() as u64);
        for mut group in list::groups(objects) {
            self.by_name += if group.len() == list::MOST_TOGETHER { group.len() as u64 } else { 0 };
            self.origins.push(match (group.pop(), group.is_empty()) {
                (Some(object), true) => Origin::Object(object, reading.clone()),
                (last, _) => {
                    group.extend(last);
                    Origin::Together(group, reading.clone())
                }
            });
        }
    }
}
