// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {Accounts} from "./settlement/Accounts.sol";
import {Headers} from "./settlement/Headers.sol";
import {Withdrawals} from "./settlement/Withdrawals.sol";

/// @title The immutable money core. Read `ISettlement`; this only puts the parts together.
/// @notice Nothing here can be upgraded, and no role can touch an account's cash or a final header. Lies are judged by
/// the four challenge contracts, which are named once.
contract Settlement is Withdrawals {
    /// @param token_ what all amounts are paid in; at least nine decimals, no fee on transfer, no rebasing
    /// @param governance_ restarts, compensates, sets tariffs, bounds and cap; owns account 0, the supplier's
    /// @param registrar_ opens accounts
    /// @param coordinator_ posts headers until governance names another at a restart
    /// @param terms what is fixed for good
    /// @param tariffImport the supplier's price for energy bought from it, until governance sets another
    /// @param tariffExport its price for energy sold to it
    constructor(
        IERC20Metadata token_,
        address governance_,
        address registrar_,
        address coordinator_,
        Terms memory terms,
        int64 tariffImport,
        int64 tariffExport
    ) Accounts(token_, governance_, registrar_) Headers(coordinator_, terms, tariffImport, tariffExport) {}
}
