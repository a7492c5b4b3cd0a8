//! Calls that change the states of instances. The state decides, and the instances' tasks carry it out.

use std::sync::Arc;

use super::command::TaskCommand;
use super::describe::instance::state;
use super::error::Ec2Result;
use super::params::Params;
use super::state::{Instance, ProcessChange, StateChange};
use super::{Ec2, Ec2State};
use crate::xml::Xml;

impl Ec2 {
    /// Decides and sends the commands under one lock: no command comes before its instance has a task.
    pub(super) fn change(
        self: &Arc<Self>,
        params: &Params,
        xml: &mut Xml,
        decide: impl FnOnce(&mut Ec2State, &[String]) -> Ec2Result<Vec<(StateChange, ProcessChange)>>,
    ) -> Ec2Result {
        let ids = params.required_instance_ids()?;
        let mut shared = self.lock();
        let changes = decide(&mut shared, &ids)?;
        for (change, effect) in &changes {
            let command = match effect {
                ProcessChange::Nothing => continue,
                ProcessChange::Boot(boot) => {
                    self.boot(&mut shared, &change.instance_id, *boot);
                    continue;
                }
                ProcessChange::Stop { force: false } => TaskCommand::Stop,
                ProcessChange::Stop { force: true } => TaskCommand::Kill,
            };
            if let Some(commands) = shared.commands.get(&change.instance_id) {
                command.send(commands);
            }
        }
        drop(shared);
        xml.list("instancesSet", &changes, |xml, (change, _)| {
            xml.text("instanceId", &change.instance_id);
            xml.element("currentState", |xml| state(xml, change.current));
            xml.element("previousState", |xml| state(xml, change.previous));
        });
        Ok(())
    }

    pub(super) fn reboot_instances(&self, params: &Params, xml: &mut Xml) -> Ec2Result {
        let ids = params.required_instance_ids()?;
        let shared = self.lock();
        shared.instances.check_exist(&ids, self.clock.now())?;
        for id in &ids {
            let instance = shared.instances.get(id);
            instance.map(Instance::check_reboot).transpose()?;
        }
        for commands in ids.iter().filter_map(|id| shared.commands.get(id)) {
            TaskCommand::Reboot.send(commands);
        }
        xml.text("return", true);
        Ok(())
    }
}
