//! What is set up weaker at the server than Forebay promises, and how to mend it.

use domain::Unavailable;
use domain::ports::Finding;

use super::client::Session;
use super::error::setup;
use super::options::Config;
use super::plan::Plan;
use crate::target::Target;

pub(super) async fn findings(
    session: &Session,
    config: &Config,
) -> Result<Vec<Finding>, Unavailable> {
    let row = session
        .client
        .query_one(
            "SELECT current_setting('fsync'), current_setting('full_page_writes'),
                    current_setting('server_encoding')",
            &[],
        )
        .await
        .map_err(|error| setup("ask for the server's settings", &error))?;
    let (fsync, full_page_writes, encoding): (String, String, String) =
        (row.get(0), row.get(1), row.get(2));
    let mut texts = Vec::new();
    if fsync != "on" {
        texts.push(format!(
            "fsync = {fsync}: a crash of the server's machine loses or damages what was delivered; set fsync = on"
        ));
    }
    if full_page_writes != "on" {
        texts.push(format!(
            "full_page_writes = {full_page_writes}: a crash of the server's machine can damage what was delivered; set full_page_writes = on"
        ));
    }
    if session.commit_setting == "off" {
        texts.push(
            "synchronous_commit = off for this role or database: Forebay sets it to on for its own connections, so that delivered means on disk".to_owned(),
        );
    }
    if encoding != "UTF8" {
        texts.push(format!(
            "the database's encoding is {encoding}: a body with other characters goes to body_raw; a database in UTF8 takes all of them"
        ));
    }
    match (&session.plan, &config.target) {
        (Plan::Table(plan), Target::Table(table)) => {
            let (name, id) = (&table.name, table.id_column.as_str());
            if !plan.unique {
                texts.push(format!(
                    "at least once only: column {id} of {name} has no unique index of its own, so a repeat is written twice; CREATE UNIQUE INDEX ON {name} ({id})"
                ));
            }
            if !plan.logged {
                texts.push(format!(
                    "the table {name} is not logged: a crash of the server empties it; ALTER TABLE {name} SET LOGGED"
                ));
            }
            for column in &plan.unfilled {
                texts.push(format!(
                    "column {column} of {name} must not be null, has no default and is not written: every event would be rejected; give it a default or name it in `columns`"
                ));
            }
        }
        (Plan::Statement(_), _) => texts.push(
            "the statement runs at least once an event: make it idempotent on $id, as in \"… ON CONFLICT (id) DO NOTHING\"".to_owned(),
        ),
        (Plan::Table(_), Target::Statement(_)) => {}
    }
    Ok(texts.into_iter().map(|text| Finding { text }).collect())
}
