// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC4906} from "@openzeppelin/contracts/interfaces/IERC4906.sol";
import {EnergyAssetNFT} from "../src/EnergyAssetNFT.sol";
import {MaintenanceLog} from "../src/asset/MaintenanceLog.sol";
import {TokenRoles} from "../src/asset/TokenRoles.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {MeterProofs} from "../src/libraries/MeterProofs.sol";
import {AssetCast} from "./AssetCast.sol";

contract EnergyAssetNFTTest is AssetCast {
    function sell(address from, address to) internal {
        VM.prank(from);
        assets.transferFrom(from, to, roof);
    }

    // -- registering -------------------------------------------------------------------------------------------------

    function test_an_asset_belongs_to_the_owner_of_its_account() public view {
        EnergyAssetNFT.Asset memory asset = assets.assetOf(roof);
        assertEq(assets.ownerOf(roof), ADA);
        assertEq(asset.capacityW, 9_800);
        assertEq(asset.account, 1);
        assertEq(assets.assetOfAccount(1), roof);
        assertEq(assets.tokenURI(roof), "ipfs://roof");
        assertEq(assets.assetCount(), 1);
    }

    function test_an_account_has_one_asset() public {
        EnergyAssetNFT.Asset memory asset = roofOf(1);
        VM.startPrank(DI);
        VM.expectRevert(abi.encodeWithSelector(EnergyAssetNFT.AccountHasAsset.selector, 1, roof));
        assets.register(asset, "");
        asset.account = 3;
        VM.expectRevert(abi.encodeWithSelector(EnergyAssetNFT.UnknownAccount.selector, 3));
        assets.register(asset, "");
    }

    function test_what_cannot_be_an_asset_is_refused() public {
        EnergyAssetNFT.Asset memory asset = roofOf(2);
        asset.capacityW = 0;
        VM.startPrank(DI);
        VM.expectRevert(EnergyAssetNFT.NoCapacity.selector);
        assets.register(asset, "");
        (asset.capacityW, asset.commissionedAtS) = (1, uint64(block.timestamp + 1));
        VM.expectRevert(abi.encodeWithSelector(EnergyAssetNFT.NotCommissioned.selector, uint64(block.timestamp + 1)));
        assets.register(asset, "");
    }

    function test_only_the_registrar_registers_and_changes() public {
        EnergyAssetNFT.Asset memory asset = roofOf(2);
        VM.startPrank(BO);
        VM.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, BO));
        assets.register(asset, "");
        VM.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, BO));
        assets.change(roof, asset);
        VM.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, BO));
        assets.setRoyalty(roof, BO, 1);
    }

    function test_a_changed_asset_stands_behind_another_account() public {
        VM.startPrank(DI);
        EnergyAssetNFT.Asset memory asset = roofOf(3);
        VM.expectRevert(abi.encodeWithSelector(EnergyAssetNFT.UnknownAccount.selector, 3));
        assets.change(roof, asset);
        VM.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 9));
        assets.change(9, asset);
        asset = roofOf(2);
        asset.capacityW = 12_000;
        MORE_VM.expectEmit();
        emit EnergyAssetNFT.AssetChanged(roof, asset);
        MORE_VM.expectEmit();
        emit IERC4906.MetadataUpdate(roof);
        assets.change(roof, asset);
        assertEq(assets.assetOfAccount(1), 0);
        assertEq(assets.assetOfAccount(2), roof);
        assertEq(assets.assetOf(roof).capacityW, 12_000);
        assets.register(roofOf(1), "");
        VM.expectRevert(abi.encodeWithSelector(EnergyAssetNFT.AccountHasAsset.selector, 2, roof));
        assets.register(asset, "");
    }

    function test_its_owner_retires_an_asset_and_the_account_is_free() public {
        VM.expectRevert(lacks(OWNER, address(this)));
        assets.retire(roof);
        prove(FIRST, 10);
        VM.prank(ADA);
        assets.retire(roof);
        VM.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, roof));
        assets.ownerOf(roof);
        assertEq(assets.checkpointCount(roof), 1);
        assertEq(assets.assetOf(roof).account, 1);
        assertEq(register(1), 2);
        (ISettlement.HeaderProof memory header, MeterProofs.MeterProof memory meter) = settle(FIRST + 1, leafOf(1, 20));
        VM.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, roof));
        assets.proveProduction(roof, header, meter);
    }

    // -- description and royalties -----------------------------------------------------------------------------------

    function test_owner_and_operator_describe_an_asset() public {
        give(OPERATOR, CY);
        VM.prank(CY);
        MORE_VM.expectEmit();
        emit IERC4906.MetadataUpdate(roof);
        assets.setTokenURI(roof, "ipfs://new");
        assertEq(assets.tokenURI(roof), "ipfs://new");
        VM.prank(ADA);
        assets.setTokenURI(roof, "ipfs://newer");
        VM.expectRevert(lacks(OPERATOR, address(this)));
        assets.setTokenURI(roof, "");
    }

    function test_a_royalty_is_asked_and_bounded() public {
        (address receiver, uint256 amount) = assets.royaltyInfo(roof, 10_000);
        assertEq(amount, 0);
        assets.setRoyalty(roof, BO, 250); // this contract is the admin of the roles
        (receiver, amount) = assets.royaltyInfo(roof, 10_000);
        assertEq(receiver, BO);
        assertEq(amount, 250);
        VM.expectRevert(abi.encodeWithSelector(EnergyAssetNFT.RoyaltyTooHigh.selector, 1_001));
        assets.setRoyalty(roof, BO, 1_001);
        VM.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 9));
        assets.setRoyalty(9, BO, 1);
        assets.setRoyalty(roof, address(0), 0);
        (, amount) = assets.royaltyInfo(roof, 10_000);
        assertEq(amount, 0);
    }

    function test_it_says_which_interfaces_it_speaks() public view {
        assertTrue(assets.supportsInterface(0x80ac58cd)); // ERC-721
        assertTrue(assets.supportsInterface(0x49064906)); // ERC-4906
        assertTrue(assets.supportsInterface(0x2a55205a)); // ERC-2981
        assertTrue(!assets.supportsInterface(0xffffffff));
    }

    // -- roles -------------------------------------------------------------------------------------------------------

    function test_the_owner_gives_and_takes_roles() public {
        MORE_VM.expectEmit();
        emit TokenRoles.TokenRoleSet(roof, VIEWER, BO, true);
        give(VIEWER, BO);
        assertTrue(assets.hasTokenRole(roof, VIEWER, BO) && !assets.hasTokenRole(roof, MAINTAINER, BO));
        VM.prank(ADA);
        assets.setTokenRole(roof, VIEWER, BO, false);
        assertTrue(!assets.hasTokenRole(roof, VIEWER, BO));
        VM.expectRevert(lacks(OPERATOR, address(this)));
        assets.setTokenRole(roof, VIEWER, BO, true);
    }

    function test_an_operator_gives_the_lower_roles_only() public {
        give(OPERATOR, CY);
        VM.startPrank(CY);
        assets.setTokenRole(roof, MAINTAINER, BO, true);
        assertTrue(assets.hasTokenRole(roof, MAINTAINER, BO));
        VM.expectRevert(lacks(OWNER, CY));
        assets.setTokenRole(roof, OPERATOR, BO, true);
    }

    function test_ownership_is_no_role_to_give() public {
        VM.startPrank(ADA);
        VM.expectRevert(TokenRoles.OwnerIsNoGrant.selector);
        assets.setTokenRole(roof, OWNER, BO, true);
        VM.expectRevert(TokenRoles.OwnerIsNoGrant.selector);
        assets.renounceTokenRole(roof, OWNER);
        assertTrue(assets.hasTokenRole(roof, OWNER, ADA) && !assets.hasTokenRole(roof, OPERATOR, ADA));
        assertTrue(!assets.hasTokenRole(9, OWNER, address(0)));
    }

    function test_a_role_is_given_up() public {
        give(VIEWER, BO);
        VM.startPrank(BO);
        assets.renounceTokenRole(roof, VIEWER);
        assertTrue(!assets.hasTokenRole(roof, VIEWER, BO));
        VM.expectRevert(lacks(VIEWER, BO));
        assets.renounceTokenRole(roof, VIEWER);
    }

    function testFuzz_roles_end_with_the_owners(uint8 roles_, bool backAgain) public {
        for (uint8 role = 1; role < 4; role++) {
            if (roles_ >> role & 1 == 1) give(TokenRoles.Role(role), CY);
        }
        MORE_VM.expectEmit();
        emit TokenRoles.TokenRolesCleared(roof);
        sell(ADA, BO);
        if (backAgain) sell(BO, ADA);
        for (uint8 role = 1; role < 4; role++) {
            assertTrue(!assets.hasTokenRole(roof, TokenRoles.Role(role), CY));
        }
        assertTrue(assets.hasTokenRole(roof, OWNER, backAgain ? ADA : BO));
    }

    // -- maintenance -------------------------------------------------------------------------------------------------

    function entries() internal returns (MaintenanceLog.Entry[] memory made) {
        give(MAINTAINER, CY);
        made = new MaintenanceLog.Entry[](3);
        for (uint64 i = 0; i < 3; i++) {
            VM.warp(START + i * 1_000);
            made[i] =
                MaintenanceLog.Entry(uint64(START) + i * 1_000, MaintenanceLog.Work(i), keccak256(abi.encode(i)), CY);
            VM.prank(CY);
            assets.logMaintenance(roof, MaintenanceLog.Work(i), keccak256(abi.encode(i)));
        }
    }

    function test_only_a_maintainer_writes_the_log() public {
        VM.startPrank(ADA);
        VM.expectRevert(lacks(MAINTAINER, ADA));
        assets.logMaintenance(roof, MaintenanceLog.Work.REPAIR, 0);
    }

    function test_the_head_proves_all_entries_in_their_order() public {
        MaintenanceLog.Entry[] memory made = new MaintenanceLog.Entry[](0);
        assertTrue(assets.verifyMaintenance(roof, made));
        made = entries();
        assertTrue(assets.verifyMaintenance(roof, made));
        (bytes32 head, uint64 count) = assets.maintenanceHead(roof);
        assertEq(count, 3);
        bytes32 expected;
        for (uint256 i = 0; i < 3; i++) {
            expected =
                keccak256(abi.encode(expected, roof, made[i].atS, made[i].work, made[i].contentHash, made[i].author));
        }
        assertEq(head, expected);
        (made[0], made[1]) = (made[1], made[0]);
        assertTrue(!assets.verifyMaintenance(roof, made));
        assertTrue(!assets.verifyMaintenance(roof, new MaintenanceLog.Entry[](0)));
    }

    function testFuzz_no_altered_entry_passes(uint8 which, uint8 field, uint64 by) public {
        MaintenanceLog.Entry[] memory made = entries();
        MaintenanceLog.Entry memory entry = made[which % 3];
        VM.assume(by != 0);
        if (field % 4 == 0) entry.atS ^= by;
        if (field % 4 == 1) entry.work = MaintenanceLog.Work((uint8(entry.work) + 1 + by % 6) % 7);
        if (field % 4 == 2) entry.contentHash ^= bytes32(uint256(by));
        if (field % 4 == 3) entry.author = address(uint160(entry.author) ^ uint160(by));
        assertTrue(!assets.verifyMaintenance(roof, made));
    }

    function test_the_log_stays_when_the_asset_is_sold() public {
        MaintenanceLog.Entry[] memory made = entries();
        sell(ADA, BO);
        assertTrue(assets.verifyMaintenance(roof, made));
        VM.prank(CY);
        VM.expectRevert(lacks(MAINTAINER, CY));
        assets.logMaintenance(roof, MaintenanceLog.Work.OTHER, 0);
    }
}
