//! The modules, one file each, and the one list of them.
mod apt;
mod assemble;
mod blockinfile;
mod command;
mod copy;
mod cron;
mod file;
mod find;
mod get_url;
mod group;
mod hostname;
mod ini_file;
mod lineinfile;
mod modprobe;
mod mount;
mod mysql;
mod mysql_db;
mod mysql_user;
mod ping;
mod rabbitmq_user;
mod rabbitmq_vhost;
mod replace;
mod script;
mod service;
mod setup;
mod slurp;
mod stat;
mod sysctl;
#[cfg(test)]
pub mod testing;
mod timezone;
mod unarchive;
mod user;
mod wait_for;

use crate::spec::Module;

/// In name order: [`crate::find`] searches it by halves.
pub const ALL: &[&Module] = &[
    &apt::APT,
    &assemble::ASSEMBLE,
    &blockinfile::BLOCKINFILE,
    &command::COMMAND,
    &copy::COPY,
    &cron::CRON,
    &file::FILE,
    &find::FIND,
    &get_url::GET_URL,
    &group::GROUP,
    &hostname::HOSTNAME,
    &ini_file::INI_FILE,
    &lineinfile::LINEINFILE,
    &modprobe::MODPROBE,
    &mount::MOUNT,
    &mysql_db::MYSQL_DB,
    &mysql_user::MYSQL_USER,
    &apt::PACKAGE,
    &ping::PING,
    &rabbitmq_user::RABBITMQ_USER,
    &rabbitmq_vhost::RABBITMQ_VHOST,
    &command::RAW,
    &replace::REPLACE,
    &script::SCRIPT,
    &service::SERVICE,
    &setup::SETUP,
    &command::SHELL,
    &slurp::SLURP,
    &stat::STAT,
    &sysctl::SYSCTL,
    &service::SYSTEMD,
    &service::SYSTEMD_SERVICE,
    &copy::TEMPLATE,
    &timezone::TIMEZONE,
    &unarchive::UNARCHIVE,
    &user::USER,
    &wait_for::WAIT_FOR,
];
