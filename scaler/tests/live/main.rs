//! The real scaler, over real sockets, in a local cloud whose instances run `sleep`. The workers only attend.

mod scaling;
mod stage;
mod worker;
