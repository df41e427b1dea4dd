//! What is set up weaker at the server than Forebay promises, and how to mend it.

use domain::ports::Finding;

use super::options::Config;
use super::plan::Plan;
use super::session::Session;
use crate::target::Target;

pub(super) fn findings(session: &Session, config: &Config) -> Vec<Finding> {
    let mut texts = Vec::new();
    let variables = &session.variables;
    let flush = variables.get("innodb_flush_log_at_trx_commit");
    if flush != "1" {
        texts.push(format!(
            "innodb_flush_log_at_trx_commit = {flush}: a crash of the server's machine loses up to a second of what was delivered; set it to 1"
        ));
    }
    if variables.is_on("log_bin") && variables.get("sync_binlog") != "1" {
        texts.push(format!(
            "sync_binlog = {}: after a crash of the server's machine the binary log, and so a replica, may lack what was delivered; set it to 1",
            variables.get("sync_binlog")
        ));
    }
    let doublewrite = variables.get("innodb_doublewrite");
    if matches!(
        doublewrite.to_ascii_uppercase().as_str(),
        "0" | "OFF" | "DETECT_ONLY"
    ) {
        texts.push(format!(
            "innodb_doublewrite = {doublewrite}: a crash of the server's machine can damage what was delivered; set it to ON"
        ));
    }
    let method = variables.get("innodb_flush_method");
    if matches!(
        method.to_ascii_lowercase().as_str(),
        "nosync" | "littlesync"
    ) {
        texts.push(format!(
            "innodb_flush_method = {method}: nothing is synced, and a crash of the server's machine loses or damages what was delivered; set it to fsync or O_DIRECT"
        ));
    }
    match (&*session.plan, &config.target) {
        (Plan::Table(plan), Target::Table(table)) => {
            let (name, id) = (&table.name, table.id_column.as_str());
            if !plan.unique {
                texts.push(format!(
                    "at least once only: column {id} of {name} has no unique index of its own, so a repeat is written twice; ALTER TABLE {name} ADD UNIQUE INDEX ({id})"
                ));
            }
            if let Some(engine) = plan.engine.as_deref().filter(|engine| *engine != "InnoDB") {
                texts.push(format!(
                    "the table {name} is kept by {engine}: a crash of the server may lose what was delivered, and a batch may be written in part; ALTER TABLE {name} ENGINE=InnoDB"
                ));
            }
            for column in &plan.unfilled {
                texts.push(format!(
                    "column {column} of {name} must not be null, has no default and is not written: no event can be delivered; give it a default or name it in `columns`"
                ));
            }
        }
        (Plan::Statement(_), _) => texts.push(
            "the statement runs at least once an event: make it idempotent on $id, as in \"… ON DUPLICATE KEY UPDATE id = id\"".to_owned(),
        ),
        (Plan::Table(_), Target::Statement(_)) => {}
    }
    texts.into_iter().map(|text| Finding { text }).collect()
}
