//! The directory: a log of operations, durable up to the last sync.

use std::collections::BTreeMap;

use super::Dice;

/// Identifies a file whatever its name.
pub(super) type Ino = u32;

/// What a power cut may take from the unsynced operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DirectoryLoss {
    /// All but a prefix: one ordered journal of metadata.
    Prefix,
    /// Any of them, but for the order of those that touch the same file or name.
    Subset,
    /// Everything unsynced.
    All,
    /// Nothing: the background had written it all.
    None,
}

#[derive(Debug, Clone)]
enum Operation {
    Create {
        name: String,
        ino: Ino,
    },
    Rename {
        from: String,
        to: String,
        ino: Ino,
        replaced: Option<Ino>,
    },
    Remove {
        name: String,
        ino: Ino,
    },
}

impl Operation {
    fn apply(&self, names: &mut BTreeMap<String, Ino>) {
        match self {
            Self::Create { name, ino } => {
                names.insert(name.clone(), *ino);
            }
            Self::Rename { from, to, ino, .. } => {
                names.remove(from);
                names.insert(to.clone(), *ino);
            }
            Self::Remove { name, .. } => {
                names.remove(name);
            }
        }
    }

    fn names(&self) -> [&str; 2] {
        match self {
            Self::Create { name, .. } | Self::Remove { name, .. } => [name, name],
            Self::Rename { from, to, .. } => [from, to],
        }
    }

    fn inos(&self) -> [Ino; 2] {
        match self {
            Self::Create { ino, .. } | Self::Remove { ino, .. } => [*ino; 2],
            Self::Rename { ino, replaced, .. } => [*ino, replaced.unwrap_or(*ino)],
        }
    }

    /// Whether this one makes sense only after `earlier`.
    fn follows(&self, earlier: &Self) -> bool {
        self.names()
            .iter()
            .any(|name| earlier.names().contains(name))
            || self.inos().iter().any(|ino| earlier.inos().contains(ino))
    }
}

/// The names, as the running process sees them and as the disk has them.
#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    seen: BTreeMap<String, Ino>,
    durable: BTreeMap<String, Ino>,
    unsynced: Vec<Operation>,
}

impl Directory {
    pub(super) fn get(&self, name: &str) -> Option<Ino> {
        self.seen.get(name).copied()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&String, Ino)> {
        self.seen.iter().map(|(name, ino)| (name, *ino))
    }

    pub(super) fn create(&mut self, name: &str, ino: Ino) {
        self.push(Operation::Create {
            name: name.into(),
            ino,
        });
    }

    /// The file must be there.
    pub(super) fn rename(&mut self, from: &str, to: &str, ino: Ino) {
        let replaced = self.get(to);
        let (from, to) = (from.into(), to.into());
        self.push(Operation::Rename {
            from,
            to,
            ino,
            replaced,
        });
    }

    pub(super) fn remove(&mut self, name: &str, ino: Ino) {
        self.push(Operation::Remove {
            name: name.into(),
            ino,
        });
    }

    fn push(&mut self, operation: Operation) {
        operation.apply(&mut self.seen);
        self.unsynced.push(operation);
    }

    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.seen);
        self.unsynced.clear();
    }

    /// What is left after a power cut is seen, and is durable.
    pub(super) fn lose(&mut self, dice: &mut Dice, loss: DirectoryLoss) {
        let unsynced = std::mem::take(&mut self.unsynced);
        let kept: Vec<Operation> = match loss {
            DirectoryLoss::All => Vec::new(),
            DirectoryLoss::None => unsynced,
            DirectoryLoss::Prefix => {
                let keep = dice.index(unsynced.len() + 1);
                unsynced.into_iter().take(keep).collect()
            }
            DirectoryLoss::Subset => {
                let (mut kept, mut lost): (Vec<Operation>, Vec<Operation>) = Default::default();
                for operation in unsynced {
                    let orphan = lost.iter().any(|earlier| operation.follows(earlier));
                    let to = if orphan || dice.chance(50) {
                        &mut lost
                    } else {
                        &mut kept
                    };
                    to.push(operation);
                }
                kept
            }
        };
        for operation in &kept {
            operation.apply(&mut self.durable);
        }
        self.seen.clone_from(&self.durable);
    }

    /// Whether any name, or one that a power cut could bring back, leads to the file.
    pub(super) fn knows(&self, ino: Ino) -> bool {
        self.seen
            .values()
            .chain(self.durable.values())
            .any(|known| *known == ino)
            || self
                .unsynced
                .iter()
                .any(|operation| operation.inos().contains(&ino))
    }
}
