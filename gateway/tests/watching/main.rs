//! Traces and logs of gateway, front and workers, as processes of their own, with a collector in the test. Needs the
//! program `worker` (`make test` builds it) and the files of `make setup`.

#![allow(clippy::unwrap_used)]

mod collector;
mod logs;
mod stack;
mod traces;
