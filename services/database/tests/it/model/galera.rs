//! Servers of the simulated world: who finds whom, who is Primary, how long a start takes. Knows no guard.

use super::*;

impl World {
    /// Galera's own doing.
    pub(super) fn galera(&mut self) {
        let now = self.now;
        // Who is left of each component, seen from each side of a cut.
        for component in self.primaries() {
            let members = self.members(component);
            let last = self.machines[*members.iter().next().unwrap()]
                .last_members
                .clone();
            let near: BTreeSet<usize> = members
                .iter()
                .copied()
                .filter(|i| !self.machines[*i].cut_off)
                .collect();
            let far: Vec<usize> = members.difference(&near).copied().collect();
            let mut sides = vec![near];
            sides.extend(far.into_iter().map(|i| BTreeSet::from([i])));
            for side in sides.into_iter().filter(|side| !side.is_empty()) {
                let stays = side.len() * 2 > last.len();
                for i in &side {
                    let m = &mut self.machines[*i];
                    if stays {
                        m.last_members = side.clone();
                    } else {
                        m.state = State::Outside;
                    }
                }
                if !stays {
                    self.say(format!("{side:?} lost the majority of {last:?}"));
                }
            }
        }
        // Writes.
        if self.random.one_in(3) {
            for component in self.primaries() {
                for i in self.members(component) {
                    self.machines[i].seqno += 1;
                    let m = &self.machines[i];
                    let most = self.committed.entry(m.uuid).or_default();
                    *most = (*most).max(m.seqno);
                }
            }
        }
        for i in 0..N {
            match self.machines[i].state.clone() {
                State::Beginning { at } if at <= now => self.begins(i, "bootstrap"),
                State::Starting { .. } | State::Outside if self.random.one_in(8) => self.joins(i),
                State::Starting { gives_up } if gives_up <= now => {
                    self.machines[i].state = State::Down;
                    self.say(format!("{i} found no cluster and gave up"));
                }
                _ => {}
            }
        }
        self.finds_together();
    }

    pub(super) fn joins(&mut self, i: usize) {
        let Some(j) =
            (0..N).find(|j| self.machines[*j].state == State::Primary && self.linked(i, *j))
        else {
            return;
        };
        let (component, uuid, seqno) = {
            let m = &self.machines[j];
            (m.component, m.uuid, m.seqno)
        };
        let m = &self.machines[i];
        assert!(
            m.uuid != uuid || m.seqno <= seqno,
            "{i} ({}) joins {j} ({seqno}): states diverged",
            m.seqno
        );
        let m = &mut self.machines[i];
        (m.component, m.uuid, m.seqno, m.state) = (component, uuid, seqno, State::Primary);
        let members = self.members(component);
        for k in &members {
            self.machines[*k].last_members = members.clone();
        }
        self.say(format!("{i} joined {members:?}"));
    }

    /// Servers that lost the majority and see more than half of their last component again.
    pub(super) fn finds_together(&mut self) {
        for i in 0..N {
            let m = &self.machines[i];
            if m.state != State::Outside || m.last_members.is_empty() {
                continue;
            }
            let (component, last) = (m.component, m.last_members.clone());
            let together: Vec<usize> = (0..N)
                .filter(|j| {
                    let o = &self.machines[*j];
                    o.state == State::Outside
                        && o.component == component
                        && o.last_members == last
                        && self.linked(i, *j)
                })
                .collect();
            if together.len() * 2 > last.len()
                && self.primaries().is_empty()
                && self.random.one_in(12)
            {
                for j in &together {
                    self.machines[*j].state = State::Primary;
                }
                let most = together
                    .iter()
                    .map(|j| self.machines[*j].seqno)
                    .max()
                    .unwrap();
                for j in &together {
                    self.machines[*j].seqno = most;
                }
                self.say(format!("{together:?} found together again"));
            }
        }
    }

    pub(super) fn begins(&mut self, i: usize, how: &str) {
        self.beginnings += 1;
        if self.machines[i].uuid.is_nil() {
            let other = self.machines.iter().find(|m| !m.uuid.is_nil());
            assert!(other.is_none(), "{i} begins a second history\n{}", self.log);
            self.machines[i].uuid = Uuid::from_u128(100 + u128::from(self.next_component));
            self.machines[i].seqno = 0;
        }
        let m = &self.machines[i];
        let most = self.committed.get(&m.uuid).copied().unwrap_or(0);
        assert!(
            m.seqno >= most,
            "{i} begins at {} below {most}\n{}",
            m.seqno,
            self.log
        );
        self.say(format!("{i} begins by {how} at {}", self.machines[i].seqno));
        let component = self.next_component;
        self.next_component += 1;
        let m = &mut self.machines[i];
        (m.state, m.component) = (State::Primary, component);
        m.last_members = BTreeSet::from([i]);
    }
}
