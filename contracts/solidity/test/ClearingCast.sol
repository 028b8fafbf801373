// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Challenge} from "../src/challenges/Challenge.sol";
import {ClearingChallenges} from "../src/challenges/ClearingChallenges.sol";
import {AuctionProof} from "../src/challenges/Proofs.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Grove} from "./Grove.sol";

/// @dev Every path has all its siblings, so that the gas is the worst.
abstract contract ClearingCast is Grove {
    uint64 internal constant HOUR = (FIRST + 400) * 1024 + 4;
    uint32 internal constant FORCED = 1 << 31;
    bytes4 internal constant FINE = Challenge.NothingIsWrong.selector;
    bytes4 internal constant ELSEWHERE = Challenge.NotInTree.selector;
    bytes4 internal constant FORGED = Challenge.WrongEvidence.selector;

    ClearingChallenges internal clearing;
    AuctionProof internal none;

    function setUp() public virtual override {
        deploy(terms());
        clearing = new ClearingChallenges(settlement);
        plant([address(clearing), COURT, address(0x72), address(0x73)]);
        isFull = true;
    }

    /// @dev The spot round of the next header.
    function spotRound() internal view returns (Messages.Auction memory spot) {
        uint64 interval = settlement.headerCount() == 0 ? FIRST : settlement.tipInterval() + 1;
        (spot.product, spot.round, spot.rule) = ((interval - GRACE) * 1024 + 1, 0xFFFF, SPOT_RULE);
        (spot.price, spot.lo, spot.hi) = (EXPORT, EXPORT, EXPORT);
        (spot.clearedAtS, spot.volumeWh, spot.slotsRoot) = (interval * 900 + 7, 5, emptyRoot());
    }
}
