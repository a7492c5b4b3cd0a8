mod queue;
mod whole;
