//! The faults in force, which the admin endpoint can replace while localcloud runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{Clock, Millis};
use crate::ec2::Ec2;
use crate::faults::{CallFaults, Faults, InjectedFault, RateLimits};
use crate::lambda::Lambda;
use crate::protocol::AwsService;
use crate::sqs::Sqs;

/// Injects the faults of calls, and hands the services those that they inject themselves.
#[derive(Debug)]
pub struct FaultInjection {
    clock: Clock,
    sqs: Arc<Sqs>,
    ec2: Arc<Ec2>,
    lambda: Arc<Lambda>,
    /// EC2's rate limits without any faults. A limit of the faults replaces that of the same action.
    ec2_limits: RateLimits,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    faults: Faults,
    calls: CallFaults,
}

impl FaultInjection {
    pub fn new(
        clock: Clock,
        sqs: Arc<Sqs>,
        ec2: Arc<Ec2>,
        lambda: Arc<Lambda>,
        ec2_limits: RateLimits,
        faults: Faults,
    ) -> Self {
        let injection = Self {
            current: Mutex::new(Current::new(Faults::default(), clock.now())),
            clock,
            sqs,
            ec2,
            lambda,
            ec2_limits,
        };
        injection.set(faults);
        injection
    }

    /// Replaces the faults. Random draws and token buckets start anew.
    pub fn set(&self, mut faults: Faults) {
        let mut limits = self.ec2_limits.clone();
        limits.extend(faults.ec2.limits);
        faults.ec2.limits = limits;
        // Held until all services have the faults: two concurrent changes do not mix.
        let mut current = self.lock();
        self.sqs.set_faults(faults.sqs, faults.seed);
        self.ec2.set_faults(faults.ec2.clone(), faults.seed);
        self.lambda.set_faults(faults.lambda, faults.seed);
        *current = Current::new(faults, self.clock.now());
    }

    /// Returns the faults in force.
    pub fn get(&self) -> Faults {
        self.lock().faults.clone()
    }

    /// Draws the fault of one call.
    pub fn draw(&self, service: AwsService, action: &str) -> InjectedFault {
        self.lock().calls.draw(service, action, self.clock.now())
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn new(faults: Faults, now: Millis) -> Self {
        Self {
            calls: CallFaults::new(&faults.call, faults.seed, now),
            faults,
        }
    }
}
