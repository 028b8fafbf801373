// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {Accounts} from "./settlement/Accounts.sol";
import {Challenges} from "./settlement/Challenges.sol";
import {Headers} from "./settlement/Headers.sol";
import {Withdrawals} from "./settlement/Withdrawals.sol";

/// @title The immutable money core. Read `ISettlement` and `IChallenges`; this only puts the parts together.
/// @notice Nothing here can be upgraded, and no role can touch an account's cash or a final header.
contract Settlement is Challenges, Withdrawals {
    /// @param token_ what all amounts are paid in; at least nine decimals, no fee on transfer, no rebasing
    /// @param governance_ restarts, compensates, owns account 0, the supplier's
    /// @param registrar_ opens accounts
    /// @param coordinator_ posts headers until governance names another at a restart
    /// @param finalityWindowS_ how long a header may be challenged
    /// @param graceIntervals_ how many intervals after delivery an interval is settled
    /// @param minimumBondNano_ the bond without which nothing is posted
    constructor(
        IERC20Metadata token_,
        address governance_,
        address registrar_,
        address coordinator_,
        uint64 finalityWindowS_,
        uint64 graceIntervals_,
        uint256 minimumBondNano_
    )
        Accounts(token_, governance_, registrar_)
        Headers(coordinator_, finalityWindowS_, graceIntervals_, minimumBondNano_)
    {}
}
