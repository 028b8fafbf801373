// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EnergyAssetNFT} from "../src/EnergyAssetNFT.sol";
import {EnergyToken} from "../src/EnergyToken.sol";
import {TokenRoles} from "../src/asset/TokenRoles.sol";
import {Roles} from "../src/governance/Roles.sol";
import {IFinalHeaders} from "../src/interfaces/IFinalHeaders.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Leaves} from "../src/libraries/Leaves.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {MeterProofs} from "../src/libraries/MeterProofs.sol";
import {GovernanceCast} from "./GovernanceCast.sol";

/// @dev What a settlement tells the assets, without the auctions behind it: accounts, money, and which headers are final.
contract SettledStreet is IFinalHeaders {
    error NotFinal(uint256 index);

    uint64 public constant graceIntervals = 4;
    uint256 public constant tokenUnitsPerNano = 1;
    address public immutable token;
    mapping(uint32 account => address owner) public ownerOf;
    mapping(bytes32 header => bool isFinal) private _final;

    constructor(address token_) {
        token = token_;
    }

    function open(uint32 account, address owner) external {
        ownerOf[account] = owner;
    }

    function finalise(ISettlement.HeaderProof calldata proof) external {
        _final[keccak256(abi.encode(proof))] = true;
    }

    function requireFinal(ISettlement.HeaderProof calldata proof) external view {
        if (!_final[keccak256(abi.encode(proof))]) revert NotFinal(proof.index);
    }
}

/// @dev A street of two homes: Ada has account 1 and a roof, Bo account 2. Di registers.
abstract contract AssetCast is GovernanceCast {
    TokenRoles.Role internal constant OWNER = TokenRoles.Role.OWNER;
    TokenRoles.Role internal constant OPERATOR = TokenRoles.Role.OPERATOR;
    TokenRoles.Role internal constant MAINTAINER = TokenRoles.Role.MAINTAINER;
    TokenRoles.Role internal constant VIEWER = TokenRoles.Role.VIEWER;

    uint64 internal constant FIRST = 2_000_000;
    uint64 internal constant COMMISSIONED = (FIRST - 4) * 900;

    EnergyToken internal token;
    SettledStreet internal street;
    Roles internal roles;
    EnergyAssetNFT internal assets;
    uint256 internal roof;

    function setUp() public virtual {
        token = new EnergyToken(address(this));
        token.grantRole(token.MINTER_ROLE(), address(this));
        street = new SettledStreet(address(token));
        street.open(1, ADA);
        street.open(2, BO);
        roles = new Roles(address(this));
        assets = new EnergyAssetNFT(street, address(roles));
        bytes4[] memory selectors = new bytes4[](2);
        (selectors[0], selectors[1]) = (EnergyAssetNFT.register.selector, EnergyAssetNFT.change.selector);
        roles.setTargetFunctionRole(address(assets), selectors, roles.METER_REGISTRAR());
        roles.grantRole(roles.METER_REGISTRAR(), DI, 0);
        roof = register(1);
    }

    function roofOf(uint32 account) internal pure returns (EnergyAssetNFT.Asset memory) {
        return EnergyAssetNFT.Asset(EnergyAssetNFT.Kind.SOLAR, 9_800, account, 1, COMMISSIONED);
    }

    function register(uint32 account) internal returns (uint256) {
        VM.prank(DI);
        return assets.register(roofOf(account), "ipfs://roof");
    }

    /// @dev A meter of which only the registers matter here.
    function leafOf(uint32 account, uint64 exportWh) internal pure returns (Messages.MeterLeaf memory leaf) {
        leaf.account = account;
        leaf.importRegisterWh = 77;
        leaf.exportRegisterWh = exportWh;
        leaf.deviationWh = -5;
        leaf.readingHash = keccak256("a reading");
    }

    /// @dev A tree of that leaf and of one at account 0.
    function treeOf(Messages.MeterLeaf memory leaf)
        internal
        pure
        returns (bytes32 root, MeterProofs.MeterProof memory proof)
    {
        MerkleSum.Node memory empty;
        MerkleSum.Node memory first = Leaves.node(leafOf(0, 1));
        MerkleSum.Node memory node = Leaves.node(leaf);
        uint256 meeting; // the height at which the path meets account 0's
        while (leaf.account >> meeting > 1) meeting++;
        for (uint256 height = 0; height < MerkleSum.DEPTH; height++) {
            if (height == meeting) {
                proof.path = abi.encodePacked(uint32(1 << meeting), first.hash, first.a, first.b, first.c);
                node = MerkleSum.parent(first, node);
            } else {
                bool isRight = leaf.account >> height & 1 == 1;
                node = isRight ? MerkleSum.parent(empty, node) : MerkleSum.parent(node, empty);
                first = MerkleSum.parent(first, empty);
            }
        }
        (root, proof.leaf) = (MerkleSum.commitment(node), leaf);
    }

    /// @dev A final header that settled `interval` with that leaf.
    function settle(uint64 interval, Messages.MeterLeaf memory leaf)
        internal
        returns (ISettlement.HeaderProof memory header, MeterProofs.MeterProof memory meter)
    {
        (header, meter) = unsettled(interval, leaf);
        street.finalise(header);
    }

    function unsettled(uint64 interval, Messages.MeterLeaf memory leaf)
        internal
        pure
        returns (ISettlement.HeaderProof memory header, MeterProofs.MeterProof memory meter)
    {
        header.header.interval = interval + 4;
        (header.header.metersRoot, meter) = treeOf(leaf);
    }

    /// @dev Ada proves what her roof had exported by the end of an interval.
    function prove(uint64 interval, uint64 exportWh) internal {
        (ISettlement.HeaderProof memory header, MeterProofs.MeterProof memory meter) =
            settle(interval, leafOf(1, exportWh));
        VM.prank(ADA);
        assets.proveProduction(roof, header, meter);
    }

    function give(TokenRoles.Role role, address account) internal {
        VM.prank(ADA);
        assets.setTokenRole(roof, role, account, true);
    }

    function lacks(TokenRoles.Role role, address account) internal view returns (bytes memory) {
        return abi.encodeWithSelector(TokenRoles.LacksTokenRole.selector, roof, role, account);
    }
}
