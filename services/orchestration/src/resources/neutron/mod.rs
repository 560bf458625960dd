//! `OS::Neutron::*`: types that are one object of the network API each ([`Object`]), and the few that are
//! relations between objects, in files of their own.
mod association;
mod interface;
mod object;
mod tables;

use super::ResourceType;

pub fn types() -> Vec<Box<dyn ResourceType>> {
    let mut types: Vec<Box<dyn ResourceType>> = tables::OBJECTS
        .iter()
        .map(|table| -> Box<dyn ResourceType> { Box::new(object::Object(table)) })
        .collect();
    types.push(Box::new(interface::RouterInterface));
    types.push(Box::new(association::FloatingIpAssociation));
    types
}
