"""Escrow for the orders that tests place on chain."""

from __future__ import annotations

from coordinator.shell.deployment import Deployment
from coordinator.shell.evm_account import EvmAccount
from coordinator.shell.evm_contract import ContractInterface
from simulators.evm_chain import DEV_KEY

ESCROW_NANO = 10**9


def fund_orders(rpc: str, deployment: Deployment, account: int) -> None:
    """The deployer mints money and pays it into the free escrow of ``account``."""
    deployer, token = EvmAccount(rpc, DEV_KEY), ContractInterface("EnergyToken")
    at, trading = deployment.address("EnergyToken"), deployment.trading
    deployer.transact(at, token.call("mint", deployer.address, ESCROW_NANO))
    deployer.transact(at, token.call("approve", trading, ESCROW_NANO))
    deployer.transact(trading, ContractInterface("EnergyTrading").call("fund", account, ESCROW_NANO))
