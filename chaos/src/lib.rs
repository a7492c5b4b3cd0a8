//! Faults with accounting: the services run as users run them, and each request's end is counted.
//!
//! | module | what it does |
//! |---|---|
//! | [`light`] | a recognizer without networks, which `worker-light` runs, and photos for it |

pub mod light;
