// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Challenge} from "../src/challenges/Challenge.sol";
import {MeterChallenges} from "../src/challenges/MeterChallenges.sol";
import {BalanceProof, MeterProof, SlotProof} from "../src/challenges/Proofs.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Commitments} from "../src/libraries/Commitments.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Grove} from "./Grove.sol";
import {Lists} from "./Lists.sol";

/// @dev Ada, what she metered, what she owes, and headers over it.
abstract contract MeterCast is Grove {
    uint64 internal constant HOUR = (FIRST + 400) * 1024 + 4;
    bytes4 internal constant FINE = Challenge.NothingIsWrong.selector;
    bytes4 internal constant ELSEWHERE = Challenge.NotInTree.selector;
    bytes4 internal constant FORGED = Challenge.WrongEvidence.selector;
    bytes4 internal constant STRANGERS = Challenge.WrongNeighbours.selector;

    MeterChallenges internal meters;

    function setUp() public virtual override {
        deploy(terms());
        meters = new MeterChallenges(settlement);
        plant([COURT, address(0x71), address(meters), address(0x73)]);
    }

    // Trees.

    function noAuctions() internal pure returns (Messages.Auction[] memory) {
        return new Messages.Auction[](0);
    }

    function auctionsRoot(Messages.Auction[] memory auctions) internal view returns (bytes32) {
        return rootOf(nodesOf(auctions), MerkleSum.AUCTIONS_DEPTH);
    }

    function metersRoot(Messages.MeterLeaf[] memory leaves) internal view returns (bytes32) {
        return rootOf(nodesOf(leaves), MerkleSum.DEPTH);
    }

    function balancesRoot(Messages.BalanceLeaf[] memory leaves) internal view returns (bytes32) {
        return rootOf(nodesOf(leaves), MerkleSum.DEPTH);
    }

    function grownOver(Messages.MeterLeaf[] memory leaves) internal returns (ISettlement.HeaderProof memory) {
        return grown(auctionsRoot(noAuctions()), metersRoot(leaves), balancesRoot(new Messages.BalanceLeaf[](0)));
    }

    function idle() internal returns (ISettlement.HeaderProof memory) {
        return grownOver(new Messages.MeterLeaf[](0));
    }

    function grownOver(Messages.BalanceLeaf[] memory leaves, Messages.Auction[] memory auctions)
        internal
        returns (ISettlement.HeaderProof memory)
    {
        return grown(auctionsRoot(auctions), metersRoot(new Messages.MeterLeaf[](0)), balancesRoot(leaves));
    }

    function adas(uint64 importWh, uint64 exportWh, bytes32 readingHash, int64 deviationWh)
        internal
        pure
        returns (Messages.MeterLeaf[] memory leaves)
    {
        leaves = new Messages.MeterLeaf[](3);
        Messages.MeterLeaf memory leaf = leaves[ADA_ACCOUNT];
        leaf.account = ADA_ACCOUNT;
        (leaf.importRegisterWh, leaf.exportRegisterWh, leaf.readingHash) = (importWh, exportWh, readingHash);
        leaf.deviationWh = deviationWh;
    }

    function adas(int128 cumulativeNano, uint128 reservedNano, bytes32 listHash)
        internal
        pure
        returns (Messages.BalanceLeaf[] memory leaves)
    {
        leaves = new Messages.BalanceLeaf[](3);
        leaves[ADA_ACCOUNT] = Messages.BalanceLeaf(ADA_ACCOUNT, cumulativeNano, reservedNano, listHash);
    }

    function adas(Commitments.Commitment[] memory list, uint128 reservedNano)
        internal
        pure
        returns (Messages.BalanceLeaf[] memory)
    {
        return adas(0, reservedNano, Lists.hashOf(list));
    }

    function listOf(uint64 product, uint128 bidNano, uint128 intervalNano)
        internal
        pure
        returns (Commitments.Commitment[] memory list)
    {
        list = new Commitments.Commitment[](1);
        list[0] = Commitments.Commitment(product, bidNano, intervalNano);
    }

    function noList() internal pure returns (Commitments.Commitment[] memory) {
        return new Commitments.Commitment[](0);
    }

    /// @dev Ada bid for 500 Wh at 200, of which 100 are filled at 120.
    function slotsOf(uint64 product) internal pure returns (Messages.Slot[] memory slots) {
        slots = new Messages.Slot[](3);
        Messages.Slot memory slot = slots[ADA_ACCOUNT];
        (slot.account, slot.product, slot.version) = (ADA_ACCOUNT, product, 1);
        (slot.quantityWh, slot.limitPrice, slot.expiryS) = (500, 200, type(uint40).max);
        (slot.fillWh, slot.positionWh, slot.positionCostNano) = (100, 100, 12_000);
    }

    function withSpot(Messages.Auction memory one) internal view returns (Messages.Auction[] memory list) {
        list = new Messages.Auction[](2);
        list[0] = auctionOf(1025, 0xFFFF, 1, 0, new Messages.Slot[](3));
        list[1] = one;
    }

    function noHeader() internal pure returns (Messages.Header memory header) {}

    function noSlot() internal pure returns (SlotProof memory slot) {}

    function noMeter() internal pure returns (MeterProof memory meter) {}

    function noBalance() internal pure returns (BalanceProof memory leaf) {}

    function win(bytes memory input, uint256 index, ISettlement.Lie lie, uint8 fault) internal {
        assertVoid(address(meters), input, index, lie, fault);
    }

    function lose(bytes memory input, bytes4 why) internal {
        assertRefused(address(meters), input, why);
    }
}
