//! JSON records → [`super::EventBatch`].
