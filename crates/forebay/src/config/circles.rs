//! Dead letters that go round: a source that reads the queue which they are sent to.
//!
//! Each comes back at once, is refused again, and is sent again, as fast as the destination refuses.

use super::document::Document;
use super::error::ConfigError;
use super::options::File;

/// A line for each source that reads what a route's dead letters go to.
pub(super) fn circles(document: &Document<'_>, file: &File) -> Vec<ConfigError> {
    let mut found = Vec::new();
    for (source, queue) in &file.queues {
        let targets = file.routes.iter().flat_map(|(route, options)| {
            let targets = options.dead_letter.to.iter();
            targets.map(move |target| (route, target))
        });
        let mut round = targets.filter(|(_, target)| {
            let destination = file.destinations.get(*target);
            destination.is_some_and(|destination| queue.reads_from(destination))
        });
        if let Some((route, target)) = round.next() {
            let reason = format!(
                "it reads the queue that the dead letters of route {route} go to, destination {target}: what is refused again and again goes round without end. Take the source out, and use forebay dlq import --from {target} once the reason is mended"
            );
            found.push(document.error(&["sources", source.as_str()], reason));
        }
    }
    found
}
