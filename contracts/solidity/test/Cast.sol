// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EnergyToken} from "../src/EnergyToken.sol";
import {Settlement} from "../src/Settlement.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Domain} from "../src/libraries/Domain.sol";
import {Leaves} from "../src/libraries/Leaves.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Vm} from "./Vm.sol";

/// @dev The cast of every test: governance, registrar, coordinator, Ada and Bo, and a settlement with its bond. The
/// four challenge contracts are plain addresses, which void whatever a test wants voided; who needs real ones deploys
/// a settlement by `deploy` and names them.
abstract contract Cast {
    Vm internal constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    address internal constant GOVERNANCE = address(0x60);
    address internal constant REGISTRAR = address(0x61);
    address internal constant COORDINATOR = address(0x62);
    address internal constant GUARDIAN = address(0x63);
    address internal constant COURT = address(0x70);
    address internal constant ADA = address(0xADA);
    address internal constant BO = address(0xB0);
    uint256 internal constant ADA_KEY = 0xADA0001;
    uint256 internal constant BO_KEY = 0xB00001;

    uint64 internal constant WINDOW_S = 3_600;
    uint64 internal constant GRACE = 4;
    uint64 internal constant GATE_LEADS = (1 << 48) | (1 << 32) | (2 << 16) | 1;
    uint8 internal constant SPOT_RULE = 1;
    uint64 internal constant RELEASE_S = 2 days;
    uint256 internal constant BOND = 1_000e9;
    int64 internal constant IMPORT = 300_000;
    int64 internal constant EXPORT = 80_000;
    uint64 internal constant FIRST = 2_000_000;

    EnergyToken internal token;
    Settlement internal settlement;

    function setUp() public virtual {
        deploy(terms());
        address[4] memory courts = [COURT, address(0x71), address(0x72), address(0x73)];
        VM.prank(GOVERNANCE);
        settlement.setChallenges(courts);
    }

    function terms() internal pure returns (ISettlement.Terms memory) {
        return ISettlement.Terms(WINDOW_S, GRACE, GATE_LEADS, SPOT_RULE, RELEASE_S, BOND);
    }

    /// @dev A token, and a settlement with Ada, Bo and its bond, whose challenge contracts nobody has named.
    function deploy(ISettlement.Terms memory agreed) internal {
        VM.warp(uint256(FIRST) * 900);
        token = new EnergyToken(address(this));
        token.grantRole(token.MINTER_ROLE(), address(this));
        settlement = new Settlement(token, GOVERNANCE, REGISTRAR, COORDINATOR, agreed, IMPORT, EXPORT);
        address[5] memory all = [GOVERNANCE, COORDINATOR, ADA, BO, address(this)];
        for (uint256 i = 0; i < all.length; i++) {
            token.mint(all[i], 1_000_000e9);
            VM.prank(all[i]);
            token.approve(address(settlement), type(uint256).max);
        }
        VM.prank(REGISTRAR);
        settlement.openAccount(ADA, VM.addr(ADA_KEY));
        VM.prank(REGISTRAR);
        settlement.openAccount(BO, VM.addr(BO_KEY));
        settlement.postBond(BOND);
    }

    /// @dev A header that continues the chain, with these balances.
    function nextHeader(bytes32 balancesRoot) internal view returns (Messages.Header memory header) {
        header.interval = settlement.headerCount() == 0 ? FIRST : settlement.tipInterval() + 1;
        header.previous = settlement.tipDigest();
        header.auctionsRoot = emptyRoot();
        header.metersRoot = emptyRoot();
        header.balancesRoot = balancesRoot;
        (header.tariffImport, header.tariffExport) = settlement.tariffs();
        header.spotPrice = header.tariffExport;
    }

    function emptyRoot() internal pure returns (bytes32) {
        MerkleSum.Node memory empty;
        return MerkleSum.commitment(empty);
    }

    function post(Messages.Header memory header) internal returns (ISettlement.HeaderProof memory) {
        if (block.timestamp < (uint256(header.interval) + 1) * 900) VM.warp((uint256(header.interval) + 1) * 900);
        VM.prank(COORDINATOR);
        return ISettlement.HeaderProof(header, settlement.post(header));
    }

    /// @dev Posts a header with these balances and waits until it is final.
    function finalised(bytes32 balancesRoot) internal returns (ISettlement.HeaderProof memory proof) {
        proof = post(nextHeader(balancesRoot));
        VM.warp(block.timestamp + WINDOW_S);
        settlement.finalise(proof);
    }

    function digestOf(Messages.Header memory header) internal view returns (bytes32) {
        return Domain.digest(settlement.domainSeparator(), Messages.hashStruct(header));
    }

    /// @dev A path without any sibling.
    function emptyPath() internal pure returns (bytes memory) {
        return new bytes(4);
    }

    /// @dev A path as the contracts take it, of the siblings from the node upwards.
    function pathOf(MerkleSum.Node[] memory siblings) internal pure returns (bytes memory path) {
        uint32 bitmap;
        for (uint256 height = 0; height < siblings.length; height++) {
            MerkleSum.Node memory node = siblings[height];
            if (MerkleSum.isEmpty(node)) continue;
            bitmap |= uint32(1 << height);
            path = abi.encodePacked(path, node.hash, node.a, node.b, node.c);
        }
        return abi.encodePacked(bitmap, path);
    }

    /// @dev The path of `account` and the root in a balances tree of Ada's and Bo's leaves, accounts 1 and 2.
    function balancesOf(Messages.BalanceLeaf memory ada, Messages.BalanceLeaf memory bo, uint32 account)
        internal
        pure
        returns (bytes32 root, bytes memory path)
    {
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](MerkleSum.DEPTH);
        MerkleSum.Node memory empty;
        MerkleSum.Node memory left = MerkleSum.parent(empty, Leaves.node(ada));
        MerkleSum.Node memory right = MerkleSum.parent(Leaves.node(bo), empty);
        siblings[1] = account == 1 ? right : left;
        MerkleSum.Node memory node = MerkleSum.parent(left, right);
        for (uint256 height = 2; height < MerkleSum.DEPTH; height++) {
            node = MerkleSum.parent(node, empty);
        }
        return (MerkleSum.commitment(node), pathOf(siblings));
    }

    function leafOf(uint32 account, int128 cumulativeNano, uint128 reservedNano)
        internal
        pure
        returns (Messages.BalanceLeaf memory)
    {
        return Messages.BalanceLeaf(account, cumulativeNano, reservedNano, bytes32(0));
    }

    /// @dev Voids a header as a challenge contract does that Bo has convinced.
    function voidFor(address challenger, ISettlement.HeaderProof memory proof) internal {
        VM.prank(COURT);
        settlement.voidHeader(proof, challenger, ISettlement.Lie.Totals, 1);
    }

    /// @dev Gas of a whole transaction with that calldata, whose call was the last one.
    function transactionGas(bytes memory input) internal view returns (uint256 gas) {
        return transactionGas(VM.lastCallGas().gasTotalUsed, input);
    }

    /// @dev Gas of a whole transaction that runs `spent` inside with that calldata.
    function transactionGas(uint256 spent, bytes memory input) internal pure returns (uint256 gas) {
        gas = 21_000 + spent;
        for (uint256 i = 0; i < input.length; i++) {
            gas += input[i] == 0 ? 4 : 16;
        }
    }

    function assertEq(uint256 one, uint256 other) internal pure {
        require(one == other, "numbers differ");
    }

    function assertEq(address one, address other) internal pure {
        require(one == other, "addresses differ");
    }

    function assertEq(bytes32 one, bytes32 other) internal pure {
        require(one == other, "hashes differ");
    }

    function assertTrue(bool claim) internal pure {
        require(claim, "claim does not hold");
    }
}
