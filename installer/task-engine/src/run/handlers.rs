//! Handlers: each once for all its notifications, in the order in which they are defined.
use super::context::Context;
use super::walk::{Flow, Walk};
use crate::event::Status;
use crate::plan::Part;

/// A handler that notifies another that notifies the first is stopped here.
const ROUNDS_MAX: usize = 1000;

impl Walk {
    /// Runs what has been notified. One run of a handler can notify others, which then run too.
    pub(super) async fn flush(&mut self, context: &Context) -> Flow {
        if self.in_handler {
            return Ok(());
        }
        for _ in 0..ROUNDS_MAX {
            let Some((handler, role)) = self.node.next_handler() else {
                return self.doubtful().await;
            };
            // A handler sees the variables of the role that defines it.
            let mut context = match self.engine.playbook.roles.get(&role) {
                Some(role) => Context::of(&self.work).enter_role(role),
                None => context.clone(),
            };
            if let Part::Role(own) = &self.work.part
                && own.role.name == role
            {
                context = Context::of(&self.work);
            }
            // Conditions and tags of what surrounds the flush are not the handler's.
            context.inherited.when.clear();
            self.in_handler = true;
            let flow = Box::pin(self.task(&handler, &context)).await;
            self.in_handler = false;
            if flow.is_err() {
                self.node.handler_failed(&handler);
            }
            flow?;
        }
        Ok(())
    }

    /// Check mode: handlers that a task may or may not notify.
    async fn doubtful(&mut self) -> Flow {
        while let Some((handler, until)) = self.node.next_doubtful() {
            let status = Status::Unknown {
                until,
                reason: "it runs if that task changes something".to_owned(),
            };
            self.in_handler = true;
            self.tell_done(&handler, None, status, "", Vec::new(), 0.0, false)
                .await;
            self.in_handler = false;
        }
        Ok(())
    }
}
