// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISettlement} from "../interfaces/ISettlement.sol";
import {Challenge} from "./Challenge.sol";
import {DemandBook} from "./demands/DemandBook.sol";
import {LeafDemands} from "./demands/LeafDemands.sol";
import {PromiseDemands} from "./demands/PromiseDemands.sol";

/// @title Nothing that a header commits to can be kept from anybody.
/// @notice Roots that nobody can open would make every other challenge worthless. Who is not given what a header
/// commits to demands it here; who then does not answer in time loses the header as if he had lied in it.
contract DataDemands is LeafDemands, PromiseDemands {
    /// @param settlement_ whose headers are asked about
    /// @param answerWindowS_ how long a demand may be answered; less than half of the settlement's finality window
    /// @param feeNano_ what a demand costs and an answer earns; more than the gas of an answer
    /// @param coverLag_ how many intervals back an account's result may cover a reserve; with weeks that are auctioned
    /// every six hours, at least 26
    /// @param capacity_ demands an address may make in one go; 0 for a hundred
    /// @param leakS_ seconds until it may make one more; 0 for sixty
    constructor(
        ISettlement settlement_,
        uint64 answerWindowS_,
        uint256 feeNano_,
        uint64 coverLag_,
        uint32 capacity_,
        uint32 leakS_
    ) Challenge(settlement_) DemandBook(answerWindowS_, feeNano_, capacity_, leakS_) PromiseDemands(coverLag_) {}
}
