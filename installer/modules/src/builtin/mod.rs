//! The modules, one file each, and the one list of them.
mod alternatives;
mod apt;
mod apt_key;
mod apt_repository;
mod assemble;
mod authorized_key;
mod blockinfile;
mod command;
mod copy;
mod cron;
mod deb822_repository;
mod debconf;
mod dpkg_selections;
mod file;
mod filesystem;
mod find;
mod get_url;
mod getent;
mod git;
mod group;
mod host_network;
mod hostname;
mod ini_file;
mod iptables;
mod known_hosts;
mod lineinfile;
mod locale_gen;
mod lvg;
mod lvol;
mod modprobe;
mod mount;
mod mysql;
mod mysql_db;
mod mysql_query;
mod mysql_user;
mod mysql_variables;
mod openssl;
mod openssl_csr;
mod openssl_dhparam;
mod openssl_privatekey;
mod openssl_publickey;
mod package_facts;
mod parted;
mod ping;
mod pip;
mod postgresql;
mod postgresql_db;
mod postgresql_privs;
mod postgresql_user;
mod rabbitmq;
mod rabbitmq_plugin;
mod rabbitmq_policy;
mod rabbitmq_user;
mod rabbitmq_vhost;
mod reboot;
mod replace;
mod script;
mod service;
mod service_facts;
mod setup;
mod slurp;
mod stat;
mod sysctl;
mod tempfile;
#[cfg(test)]
pub mod testing;
mod timezone;
mod unarchive;
mod uri;
mod user;
mod wait_for;
mod x509_certificate;

use crate::spec::Module;

/// In name order: [`crate::find`] searches it by halves.
pub const ALL: &[&Module] = &[
    &alternatives::ALTERNATIVES,
    &apt::APT,
    &apt_key::APT_KEY,
    &apt_repository::APT_REPOSITORY,
    &assemble::ASSEMBLE,
    &authorized_key::AUTHORIZED_KEY,
    &blockinfile::BLOCKINFILE,
    &command::COMMAND,
    &copy::COPY,
    &cron::CRON,
    &deb822_repository::DEB822_REPOSITORY,
    &debconf::DEBCONF,
    &dpkg_selections::DPKG_SELECTIONS,
    &file::FILE,
    &filesystem::FILESYSTEM,
    &find::FIND,
    &get_url::GET_URL,
    &getent::GETENT,
    &git::GIT,
    &group::GROUP,
    &host_network::HOST_NETWORK,
    &hostname::HOSTNAME,
    &ini_file::INI_FILE,
    &iptables::IPTABLES,
    &known_hosts::KNOWN_HOSTS,
    &lineinfile::LINEINFILE,
    &locale_gen::LOCALE_GEN,
    &lvg::LVG,
    &lvol::LVOL,
    &modprobe::MODPROBE,
    &mount::MOUNT,
    &mysql_db::MYSQL_DB,
    &mysql_query::MYSQL_QUERY,
    &mysql_user::MYSQL_USER,
    &mysql_variables::MYSQL_VARIABLES,
    &openssl_csr::OPENSSL_CSR,
    &openssl_dhparam::OPENSSL_DHPARAM,
    &openssl_privatekey::OPENSSL_PRIVATEKEY,
    &openssl_publickey::OPENSSL_PUBLICKEY,
    &apt::PACKAGE,
    &package_facts::PACKAGE_FACTS,
    &parted::PARTED,
    &ping::PING,
    &pip::PIP,
    &postgresql_db::POSTGRESQL_DB,
    &postgresql_privs::POSTGRESQL_PRIVS,
    &postgresql_user::POSTGRESQL_USER,
    &rabbitmq_plugin::RABBITMQ_PLUGIN,
    &rabbitmq_policy::RABBITMQ_POLICY,
    &rabbitmq_user::RABBITMQ_USER,
    &rabbitmq_vhost::RABBITMQ_VHOST,
    &command::RAW,
    &reboot::REBOOT,
    &replace::REPLACE,
    &script::SCRIPT,
    &service::SERVICE,
    &service_facts::SERVICE_FACTS,
    &setup::SETUP,
    &command::SHELL,
    &slurp::SLURP,
    &stat::STAT,
    &sysctl::SYSCTL,
    &service::SYSTEMD,
    &service::SYSTEMD_SERVICE,
    &tempfile::TEMPFILE,
    &copy::TEMPLATE,
    &timezone::TIMEZONE,
    &unarchive::UNARCHIVE,
    &uri::URI,
    &user::USER,
    &wait_for::WAIT_FOR,
    &x509_certificate::X509_CERTIFICATE,
];
