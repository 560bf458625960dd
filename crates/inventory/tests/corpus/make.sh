#!/bin/sh
# Writes expected.json of every case by ansible-core itself. Only for those who change a case; the tests need no Ansible.
set -eu
cd "$(dirname "$0")"
export ANSIBLE_TRANSFORM_INVALID_GROUP_CHARS=ignore
ansible-inventory -i ini/hosts --list > ini/expected.json
ansible-inventory -i yaml/hosts.yml --list > yaml/expected.json
ansible-inventory -i folder/inventory --playbook-dir folder --list > folder/expected.json
