"""The settings of Azure NPM that change verdicts, by the names of its own configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from migrate.errors import InputError
from migrate.model.raw import Json

CHAIN_FIRST, LITE, SECOND_VERSION = "PlaceAzureChainFirst", "EnableNPMLite", "EnableV2NPM"
NPM_OPTIONS = (CHAIN_FIRST, LITE, SECOND_VERSION)


@dataclass(frozen=True, slots=True)
class NpmSettings:
    """`chain_first`: NPM's chain stands before kube-proxy's. `lite`: policies with selectors of peers are refused."""

    chain_first: bool = False
    lite: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Json]) -> NpmSettings:
        """The settings among a case's options. Raises InputError for what is not modelled."""
        for name in NPM_OPTIONS:
            if not isinstance(options.get(name, False), bool):
                raise InputError(f"option {name}: {options[name]!r} is not true or false")
        if options.get(SECOND_VERSION) is False:
            raise InputError(f"option {SECOND_VERSION}: NPM before version 2 is not modelled; leave it out")
        return cls(options.get(CHAIN_FIRST) is True, options.get(LITE) is True)
