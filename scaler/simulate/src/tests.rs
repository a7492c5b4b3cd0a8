mod charts;
mod queue;
mod whole;
