// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EnergyTrading} from "../src/EnergyTrading.sol";
import {DataDemands} from "../src/challenges/DataDemands.sol";
import {AuctionProof, BalanceProof, MeterProof, SlotProof} from "../src/challenges/Proofs.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Commitments} from "../src/libraries/Commitments.sol";
import {Leaves} from "../src/libraries/Leaves.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Cast} from "./Cast.sol";
import {VmMore} from "./VmMore.sol";
import {Lists} from "./Lists.sol";

/// @dev A settlement whose demands are real, an operator who can sign, and trees in which every sibling is full.
abstract contract DemandCast is Cast {
    uint256 internal constant OPERATOR_KEY = 0x0BE0001;
    uint64 internal constant ANSWER_S = 900;
    uint256 internal constant FEE = 7e9;
    uint64 internal constant COVER_LAG = 2;
    uint32 internal constant FORCED = 1 << 31;
    uint64 internal constant PRODUCT = (FIRST + 9) * 1024 + 1;
    /// @dev The leaf of the auction that is asked about; the next leaf is its neighbour.
    uint256 internal constant PLACE = 1_366;

    DataDemands internal demands;
    EnergyTrading internal trading;
    AuctionProof internal noAuction;

    function setUp() public virtual override {
        deploy(terms());
        demands = new DataDemands(settlement, ANSWER_S, FEE, COVER_LAG, 0, 0);
        trading = new EnergyTrading(settlement, 300, 60, 7_200, 0, 0, IMPORT);
        token.approve(address(trading), type(uint256).max);
        trading.fund(1, 1_000e9);
        VM.startPrank(GOVERNANCE);
        settlement.setChallenges([COURT, address(0x71), address(0x72), address(demands)]);
        settlement.setTrading(address(trading));
        settlement.halt();
        settlement.restart(0, VM.addr(OPERATOR_KEY));
        VM.stopPrank();
        address[3] memory all = [ADA, BO, address(this)];
        for (uint256 i = 0; i < 3; i++) {
            VM.prank(all[i]);
            token.approve(address(demands), type(uint256).max);
        }
    }

    /// @dev A call that must succeed, and be cheap as a whole transaction.
    function send(bytes memory input) internal {
        (bool done, bytes memory reason) = address(demands).call(input);
        uint256 gas = transactionGas(input);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(reason, 0x20), mload(reason))
            }
        }
        assertTrue(gas <= 350_000);
    }

    function postBy(Messages.Header memory header) internal returns (ISettlement.HeaderProof memory) {
        if (now_() < (uint256(header.interval) + 1) * 900) VM.warp((uint256(header.interval) + 1) * 900);
        VM.prank(VM.addr(OPERATOR_KEY));
        return ISettlement.HeaderProof(header, settlement.post(header));
    }

    function blank() internal view returns (Messages.Header memory) {
        return nextHeader(emptyRoot());
    }

    /// @dev The time, also after a `warp` in the same function.
    function now_() internal view returns (uint256) {
        return VmMore(address(VM)).getBlockTimestamp();
    }

    function sign(uint256 key, bytes32 structHash) internal view returns (bytes memory) {
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", settlement.domainSeparator(), structHash));
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @dev Root and path of a leaf in a tree of which every sibling is full; `next` stands to the right of an even
    /// index, to the left of an odd one.
    function grown(uint256 index, MerkleSum.Node memory leaf, MerkleSum.Node memory next, uint256 depth)
        internal
        pure
        returns (bytes32 root, bytes memory path)
    {
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](depth);
        MerkleSum.Node memory node = leaf;
        for (uint256 height = 0; height < depth; height++) {
            siblings[height] = height == 0 ? next : filler(height);
            node = (index >> height) & 1 == 1
                ? MerkleSum.parent(siblings[height], node)
                : MerkleSum.parent(node, siblings[height]);
        }
        return (MerkleSum.commitment(node), pathOf(siblings));
    }

    function filler(uint256 height) internal pure returns (MerkleSum.Node memory) {
        // Bytes that are not zero, as dear as they come, in the hash and small sums.
        return MerkleSum.Node(keccak256(abi.encode("sibling", height)), uint128(1e30 + height), 1e30, 1e30);
    }

    function emptyNode() internal pure returns (MerkleSum.Node memory node) {}

    function auctionOf(uint64 product, uint32 round, bytes32 slotsRoot)
        internal
        view
        returns (Messages.Auction memory)
    {
        Messages.Auction memory auction;
        auction.product = product;
        auction.round = round;
        auction.clearedAtS = uint64(now_());
        auction.price = 200_000;
        auction.slotsRoot = slotsRoot;
        return auction;
    }

    /// @dev A header of that auction at `PLACE`, and its proof.
    function posted(Messages.Auction memory auction)
        internal
        returns (ISettlement.HeaderProof memory proof, AuctionProof memory shown)
    {
        Messages.Header memory header = blank();
        shown = AuctionProof(true, auction, PLACE, "");
        (header.auctionsRoot, shown.path) = grown(PLACE, Leaves.node(auction), filler(0), 12);
        proof = postBy(header);
    }

    function slotOf(uint32 account, bytes32 signatureHash) internal pure returns (Messages.Slot memory slot) {
        slot.account = account;
        slot.product = PRODUCT;
        slot.version = 3;
        slot.quantityWh = 1_500;
        slot.limitPrice = 210_000;
        slot.expiryS = type(uint64).max >> 1;
        slot.fillWh = 1_500;
        slot.signatureHash = signatureHash;
    }

    /// @dev A header of one auction under `rule` with that slot, or with none.
    function slotted(uint8 rule, SlotProof memory slot, uint32 account)
        internal
        returns (ISettlement.HeaderProof memory proof, AuctionProof memory shown)
    {
        Messages.Auction memory auction = auctionOf(PRODUCT, 7, bytes32(0));
        auction.rule = rule;
        MerkleSum.Node memory leaf =
            slot.present ? Leaves.node(slot.slot, auction.price, auction.longSide, auction.clearedAtS) : emptyNode();
        (auction.slotsRoot, slot.path) = grown(account, leaf, filler(0), 20);
        return posted(auction);
    }

    function metered(Messages.MeterLeaf memory leaf)
        internal
        returns (ISettlement.HeaderProof memory proof, MeterProof memory meter)
    {
        Messages.Header memory header = blank();
        meter = MeterProof(true, leaf, "");
        (header.metersRoot, meter.path) = grown(leaf.account, Leaves.node(leaf), filler(0), 20);
        proof = postBy(header);
    }

    function balanced(Messages.BalanceLeaf memory leaf)
        internal
        returns (ISettlement.HeaderProof memory proof, BalanceProof memory balance)
    {
        Messages.Header memory header = blank();
        balance = BalanceProof(true, leaf, "");
        (header.balancesRoot, balance.path) = grown(leaf.account, Leaves.node(leaf), filler(0), 20);
        proof = postBy(header);
    }
}
