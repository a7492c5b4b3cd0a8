//! Faults with accounting: the services run as users run them, and each request's end is counted.
//!
//! | module | what it does |
//! |---|---|
//! | [`run`] | one run: a stack, the load, the faults, and the account |
//! | [`stack`] | starts the local cloud, which boots the web instance, with a [`proxy`] on four links |
//! | [`processes`] | finds the stack's processes, and signals them |
//! | [`schedule`] | when which fault happens, by seed |
//! | [`inject`] | carries the schedule out |
//! | [`load`] | sends photos, and notes how each request ends for its client |
//! | [`logs`] | what the instances' logs tell |
//! | [`account`] | each request's end, beside what the cloud holds of it |
//! | [`soak`] | steady load for long, and what each process holds |
//! | [`light`] | a recognizer without networks, which `worker-light` runs, and photos for it |

pub mod account;
pub mod inject;
pub mod light;
pub mod load;
pub mod logs;
pub mod processes;
pub mod proxy;
pub mod run;
pub mod schedule;
pub mod soak;
pub mod stack;
