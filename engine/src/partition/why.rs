//! Answers about one user, for people: how they stand towards a segment; and which events it would take in.

use std::sync::Arc;

use cohort_compiler::program::SegmentKind;

use super::Partition;
use crate::decode::EventBatch;
use crate::error::EngineError;
use crate::membership::Member;
use crate::window::bank::Bank;
use crate::window::why::Standing;

/// How a user stands towards a segment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Why {
    /// The membership, if any.
    pub member: Option<Member>,
    /// For a segment over a stream, the user's groups.
    pub standings: Vec<Standing>,
    /// For a segment over others, each with how the user stands towards it.
    pub inputs: Vec<(u32, Why)>,
}

impl Partition {
    /// How a user stands towards a segment.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn why(&mut self, segment: u32, user: &str) -> Result<Why, EngineError> {
        match self.users.find(user.as_bytes()) {
            Some(id) => self.why_of(segment, id),
            None => Ok(Why::default()),
        }
    }

    fn why_of(&mut self, segment: u32, user: u32) -> Result<Why, EngineError> {
        let program = Arc::clone(&self.program);
        let member = self.membership.get(segment, user);
        let mut why = Why { member, ..Why::default() };
        match &program.segments[segment as usize].kind {
            SegmentKind::Base { family, .. } => {
                let (bank, rung) = self.homes[*family as usize];
                let Bank { families, ladder, .. } = &mut self.banks[bank];
                why.standings = families[rung].standings(ladder, &program.families[*family as usize], segment, user, &self.users)?;
            }
            SegmentKind::Derived(derived) => {
                for &input in &derived.inputs {
                    why.inputs.push((input, self.why_of(input, user)?));
                }
            }
        }
        Ok(why)
    }

    /// For each event of a batch, whether any segment's filter takes it in. Nothing is changed.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn takes(&mut self, events: &EventBatch) -> Result<Vec<bool>, EngineError> {
        let (program, context) = (Arc::clone(&self.program), self.context(events)?);
        self.select(&program, events)?;
        let passes = |mask: Option<u32>, i: usize| mask.is_none_or(|m| context.masks[m as usize][i]);
        let takes = |i: usize| self.routes.iter().any(|route| route.steps(i).into_iter().flatten().any(|step| step.creates && passes(step.mask, i)));
        Ok((0..events.len()).map(takes).collect())
    }
}
