//! Calls that change the states of instances: decided by the state, carried out by the instances' tasks.

use std::sync::Arc;

use tokio::sync::watch;

use super::params::Params;
use super::state::{Effect, Instance, StateChange};
use super::supervise::Order;
use super::{Ec2, Ec2Error, Shared};
use crate::xml::Xml;

impl Ec2 {
    /// Decides and gives the orders under one lock, so that no order comes before its instance has a task.
    pub(super) fn change(
        self: &Arc<Self>,
        action: &str,
        params: &Params,
        request_id: &str,
        decide: impl FnOnce(&mut Shared, &[String]) -> Result<Vec<(StateChange, Effect)>, Ec2Error>,
    ) -> Result<String, Ec2Error> {
        let ids = params.required_instance_ids()?;
        let mut shared = self.lock();
        let changes = decide(&mut shared, &ids)?;
        for (change, effect) in &changes {
            match effect {
                Effect::Nothing => {}
                Effect::Boot(boot) => self.boot(&mut shared, &change.instance_id, *boot),
                Effect::End { at_once } => {
                    if let Some(orders) = shared.orders.get(&change.instance_id) {
                        give(
                            orders,
                            if *at_once {
                                Order::EndAtOnce
                            } else {
                                Order::End
                            },
                        );
                    }
                }
            }
        }
        drop(shared);
        Ok(Xml::response(action, request_id, |xml| {
            xml.list("instancesSet", &changes, |xml, (change, _)| {
                xml.text("instanceId", &change.instance_id);
                for (name, state) in [
                    ("currentState", change.current),
                    ("previousState", change.previous),
                ] {
                    xml.element(name, |xml| {
                        xml.text("code", state.code());
                        xml.text("name", state.name());
                    });
                }
            });
        }))
    }

    pub(super) fn reboot(&self, ids: &[String]) -> Result<(), Ec2Error> {
        let shared = self.lock();
        shared.instances.check_exist(ids, self.clock.now())?;
        for id in ids {
            shared
                .instances
                .get(id)
                .map(Instance::check_reboot)
                .transpose()?;
        }
        for orders in ids.iter().filter_map(|id| shared.orders.get(id)) {
            give(orders, Order::Reboot);
        }
        Ok(())
    }
}

/// Gives an order, unless a more urgent one stands.
pub(super) fn give(orders: &watch::Sender<Order>, order: Order) {
    orders.send_if_modified(|standing| {
        let more_urgent = order > *standing;
        if more_urgent {
            *standing = order;
        }
        more_urgent
    });
}
